"""A plan as people read it: the pieces that a reader acts on are there."""

import json
from pathlib import Path

import pytest

from sweeper.facts.record import DomainFacts
from sweeper.views.plan_view import domain_line, scalar

SIZE = ("plan", "--task", "classification", "--examples", "2000", "--model", "7B")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-4, "2e-4"),
        (0.05, "0.05"),
        (8.0, "8"),
        (16, "16"),
        (1230.5, "1,230"),
        ("qv", "qv"),
        (0.0, "0"),
    ],
)
def test_values_are_written_short(value, text):
    assert scalar(value) == text


def test_a_plan_shows_facts_space_reasons_cost_and_what_was_left_out(sweeper):
    ran = sweeper(*SIZE, "--gpu-memory", "24")
    assert ran.code == 0
    for part in (
        "2,000 examples",
        "24.0 GiB (stated)",
        "lora *",
        "lr 1e-4..3e-4",
        "[start-with-lora]",
    ):
        assert part in ran.out
    left_out = ran.out.split("Left out")[1]
    assert "full: needs" in left_out
    assert "would fit" in left_out
    assert "confirmation" in ran.out
    assert ran.err == ""


def test_a_plan_writes_nothing_unless_asked(sweeper, here):
    sweeper(*SIZE, "--gpu-memory", "24")
    assert list(here.iterdir()) == []
    sweeper(*SIZE, "--gpu-memory", "24", "-o", "sweep.yaml")
    assert [path.name for path in here.iterdir()] == ["sweep.yaml"]
    again = sweeper("plan", "sweep.yaml", "--json")
    assert again.code == 0
    assert '"recommended": "lora"' in again.out


def test_nothing_fits_exits_with_3_and_says_what_would(sweeper):
    ran = sweeper(*SIZE[:-1], "70B", "--gpu-memory", "2")
    assert ran.code == 3
    assert "would fit" in ran.err


def test_plans_are_the_same_to_the_byte(sweeper):
    first = sweeper(*SIZE, "--gpu-memory", "24", "--json").out
    assert sweeper(*SIZE, "--gpu-memory", "24", "--json").out == first


def test_verbose_shows_every_parameter_with_its_source(sweeper):
    out = sweeper(*SIZE, "--gpu-memory", "24", "-v").out
    assert "lora: parameters" in out
    assert "warmup_ratio" in out
    assert "arXiv" in out


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"decided_by": "user"}, "language: far from general text (as stated)"),
        (
            {"decided_by": "tokens-per-word", "tokens_per_word": 2.0,
             "general_tokens_per_word": 1.25},
            "language: far from general text (1.60 times general text's tokens a word)",
        ),
        (
            {"decided_by": "bits-per-byte", "tokens_per_word": 1.25, "bits_per_byte": 2.0,
             "general_tokens_per_word": 1.25, "general_bits_per_byte": 1.5},
            "language: far from general text (2.00 bits a byte under the model, general text "
            "1.50; besides, 1.00 times general text's tokens a word)",
        ),
    ],
    ids=["stated", "words", "bits"],
)  # fmt: skip
def test_the_domain_is_told_with_every_measure_of_it(facts, said):
    assert domain_line(DomainFacts(distance="far", **facts)) == said


def test_the_readmes_plan_is_what_is_printed(sweeper):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    command, _, rest = readme.split("$ sweeper plan ")[1].partition("\n")
    ran = sweeper("plan", *command.split())
    printed = [line.rstrip() for line in ran.out.splitlines()]
    shown = [line for line in rest.split("```")[0].splitlines() if line.strip("`.")]
    missing = [
        line
        for line in shown
        if line not in printed
        and not (
            line.endswith("...") and any(p.startswith(line.removesuffix("...")) for p in printed)
        )
    ]
    assert missing == []
    assert len(shown) > 30


def test_a_suite_is_a_line_of_the_budget_and_a_field_of_the_json(sweeper, here):
    (here / "suite.yaml").write_text("task: gsm8k\ndataset_path: hub\nmetadata: {limit: 9}\n")
    asked = ("plan", "--task", "instruction", "--examples", "200", "--model", "7B")
    asked += ("--gpu-memory", "80", "--suite", "suite.yaml")
    shown = sweeper(*asked)
    assert shown.code == 0, shown.err
    assert "suite         base and finalists on 1 task: " in shown.out
    assert "assumes 9 items" in " ".join(shown.out.split())
    budget = json.loads(sweeper(*asked, "--json").out)["budget"]
    assert 0 < budget["suite"]["low"] < budget["suite"]["seconds"] < budget["suite"]["high"]
    phases = ("search", "confirmation", "beside", "own_text", "suite")
    whole = sum(budget[name]["seconds"] for name in phases if budget[name])
    assert budget["sweep"]["seconds"] == pytest.approx(whole, abs=0.1)


def test_a_plan_and_its_explanation_say_what_the_user_declared(sweeper, here):
    declared = ("--set", "lora.r=[8, 512]", "--set", "all.weight_decay=0.2")
    ran = sweeper(*SIZE, "--gpu-memory", "80", *declared)
    shown = ran.out.split("Declared by you")[1]
    assert "r {8|512} (lora)" in shown
    assert "--set lora.r; the rule book: " in shown
    assert "weight_decay 0.2 (lora, " in shown
    assert "r 512 (--set lora.r) lies beyond 1 to 256" in shown.split("Watch out")[1]
    made = sweeper(*SIZE, "--gpu-memory", "80", *declared, "--json").out
    Path("plan.json").write_text(made)
    assert "Declared by you" in sweeper("explain", "plan.json").out
    parts = json.loads(sweeper("explain", "plan.json", "--json", "--strategy", "lora").out)
    names = {(one["strategy"], one["parameter"]) for one in parts["declared"]}
    assert names == {("lora", "r"), ("lora", "weight_decay")}


def test_ten_mistakes_in_parameters_are_told_at_once_with_their_lines(sweeper, here):
    Path("sweep.yaml").write_text(
        "task: classification\nmodel: 7B\ndata: {examples: 500}\nparameters:\n"
        "  lora:\n    r: [8, eight]\n    lora_dropout: 2\n    rank: 8\n"
        "    target_modules: [q_prj]\n    modules_to_save: [lm_head]\n"
        "  full:\n    optim: adamwtorch\n    modules_to_save: [embed_tokens]\n"
        "  head:\n    C: 1\n"
        "  all:\n    replay_share: 0.2\n    warmup: 3\n"
    )
    ran = sweeper("plan", "sweep.yaml")
    assert ran.code == 2
    lines = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    places = [line.split("sweep.yaml:")[1].split(" ")[0] for line in lines]
    assert places == ["6", "7", "8", "9", "10", "12", "13", "15", "17", "18"]
    assert "Traceback" not in ran.err
