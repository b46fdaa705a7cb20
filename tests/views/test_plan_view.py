"""A plan as people read it: the pieces that a reader acts on are there."""

import json
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from sweeper import plan
from sweeper.errors import NothingFits, SpecError
from sweeper.facts.record import DomainFacts
from sweeper.views.console import MAX_WIDTH, lines_of
from sweeper.views.plan_view import domain_line, page

SIZE = ("plan", "--task", "classification", "--examples", "2000", "--model", "7B")


def test_a_plan_shows_what_decides_first_then_facts_space_cost_and_what_was_left_out(sweeper):
    ran = sweeper(*SIZE, "--gpu-memory", "24")
    assert ran.code == 0
    assert ran.out.startswith("Start with  lora on 7B: ")
    for part in (
        "2,000 examples: 1,400 to train, 300 for validation, 300 for test.",
        "24.0 GiB (stated)",
        "lora *",
        "learning rate 1e-4..1e-3",
        "lora is better with 67%, +0.1 points expected",
        "is expected to gain +1.7 ± 1.5 points",
        "batch 16 = 8 x 2",
    ):
        assert part in ran.out
    whole = sweeper(*SIZE, "--gpu-memory", "24", "-v").out
    assert "full: needs" in whole.split("Left out")[1]
    assert "[quantisation-costs-quality]" in whole
    assert ran.err == ""


def test_strategies_that_nobody_asked_for_are_left_to_verbose(sweeper):
    asked = (*SIZE, "--gpu-memory", "24")
    assert "adapter" not in sweeper(*asked).out
    whole = sweeper(*asked, "-v").out.split("Left out")[1]
    assert "adapter" in whole
    assert "would fit" in whole
    named = sweeper(*asked, "--strategies", "lora,full").out.split("Left out")[1]
    assert "would fit" in named


def test_a_sweep_of_days_names_one_run_first(sweeper):
    asked = ("plan", "--task", "instruction", "--examples", "2000", "--model", "8B",
             "--gpu-memory", "24")  # fmt: skip
    long = " ".join(sweeper(*asked, "--assume-length", "1800").out.split("Model")[0].split())
    assert "; --trials 1 takes about " in long
    assert "--trials 1" not in sweeper(*asked).out


SUITE = "group: g\ntask:\n  - task: gsm8k\n  - task: mmlu\n"
MANY = ("--suite", "suite.yaml", "--max-forgetting", "2", "--budget", "400gpuh", "--price", "2")


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ((*SIZE, "--gpu-memory", "24"), 25),
        (("plan", "--task", "instruction", "--examples", "2000", "--gpu-memory", "24"), 25),
        (("plan", "--task", "code", "--examples", "5000", "--gpu-memory", "24"), 25),
        (("plan", "--task", "instruction", "--examples", "2000", "--gpu-memory", "19.6",
          "--model", "8B"), 25),
        (("plan", "--task", "instruction", "--examples", "2000", "--gpu-memory", "24",
          "--model", "8B", "--assume-length", "1800"), 25),
        (("plan", "--task", "classification", "--model", "packaged:minilm", "--examples", "50"),
         25),
        (("plan", "--task", "instruction", "--model", "packaged:smollm2", "--examples", "200"), 25),
        (("plan", "--task", "classification", "--examples", "90"), 25),
        (("plan", "--task", "code", "--examples", "200000", "--model", "8B", "--gpu-memory", "24"),
         25),
        (("plan", "--task", "instruction", "--examples", "50", "--model", "8B", "--gpus", "8",
          "--gpu-memory", "80", *MANY), 25),
    ],
    ids=["7B", "no-model", "no-model-code", "19.6", "long", "cpu", "cpu-text", "cpu-no-model",
         "code", "all-flags"],
)  # fmt: skip
def test_a_plan_for_one_model_is_short_and_no_line_is_cut(sweeper, here, asked, most):
    (here / "suite.yaml").write_text(SUITE)
    ran = sweeper(*asked)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert len(lines) <= most
    assert max(map(len, lines)) <= MAX_WIDTH
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


DECLARED = {"lora.r": 256, "lora.learning_rate": 1e-2}


@settings(max_examples=20, deadline=None)
@given(
    task=st.sampled_from(["classification", "instruction", "code", "domain"]),
    rows=st.floats(1.7, 6).map(lambda power: round(10**power)),
    model=st.sampled_from([None, "packaged:minilm", "packaged:smollm2", "1B", "8B", "70B"]),
    machine=st.sampled_from([{}, {"gpu": "H100"}, *({"gpu_memory": gib} for gib in (8, 24, 80))]),
    gpus=st.sampled_from([1, 2, 8]),
    budget=st.sampled_from([None, "1h", "48h", "400gpuh"]),
    strategies=st.sampled_from([None, "lora,qlora,full", "prefix,ptuning,adapter"]),
    declared=st.sampled_from([{}, DECLARED, {"all.weight_decay": 0.1, "full.learning_rate": 1e-3}]),
)
@example("instruction", 20_000, "8B", {"gpu": "H100"}, 1, None, None, DECLARED)
@example("code", 20_000, "8B", {"gpu": "H100"}, 8, "8h", "lora,qlora,full", DECLARED)
def test_no_plan_has_more_than_25_lines_and_no_warning_waits_while_other_notes_stand(
    task, rows, model, machine, gpus, budget, strategies, declared
):
    asked = {"task": task, "examples": rows, "model": model, "budget": budget, "set": declared}
    asked |= {"strategies": strategies} | machine | ({"gpus": gpus} if machine else {})
    try:
        made = plan(**{name: value for name, value in asked.items() if value})
    except (NothingFits, SpecError):
        assume(False)
    lines = lines_of(page(made), Console(width=MAX_WIDTH))
    assert len(lines) <= 25
    assert lines[0].startswith("Start with")
    text = " ".join(" ".join(lines).split())
    assert "without torch.compile" in text
    if "Why" in text or "Declared" in text.split("--verbose")[0]:
        assert all(f"[{reason.rule}]" in text for reason in made.warnings)
    best = made.candidates[0]
    assert ("bf16-pure: there are" in text) <= (best.setup.precision == "bf16-pure")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_plan_fits_any_terminal_and_no_word_is_cut(width):
    made = plan(task="classification", examples=2000, model="7B", gpu_memory=24)
    console = Console(file=StringIO(), width=width)
    console.print(page(made))
    shown = console.file.getvalue()
    assert max(len(line) for line in shown.splitlines()) <= width
    wide = Console(file=StringIO(), width=1000)
    wide.print(page(made))
    assert shown.split() == wide.file.getvalue().split()


def test_texts_of_others_are_neither_markup_nor_escape_sequences():
    made = plan(task="classification", examples=2000, model="7B", gpu_memory=24)
    named = made.facts.models[0].model_copy(update={"id": "[red]a\x1b[31m\u202eb"})
    facts = made.facts.model_copy(update={"models": (named,)})
    console = Console(file=StringIO(), width=MAX_WIDTH)
    console.print(page(made.model_copy(update={"facts": facts})))
    shown = console.file.getvalue()
    assert "[red]a" in shown
    assert not {"\x1b", "\u202e"} & set(shown)


def test_cautions_that_matter_are_never_hidden(sweeper):
    ran = sweeper("plan", "--task", "instruction", "--examples", "300", "--model", "3B",
                  "--strategies", "full", "--gpu-memory", "24")  # fmt: skip
    said = " ".join(ran.out.split())
    assert "full in bf16-pure: there are no fp32 master weights" in said
    assert "cannot be told from noise" in said


def test_without_a_model_sizes_and_kinds_are_compared(sweeper):
    asked = ("plan", "--task", "classification", "--examples", "2000", "--gpu-memory", "24")
    ran = sweeper(*asked, "-v")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Start with")
    for part in ("GLUE", "encoder", "decoder", "Too large"):
        assert part in ran.out
    chosen = json.loads(sweeper(*asked, "--json").out)
    assert f"{chosen['model_choice']['model']} *" in ran.out
    assert chosen["facts"]["models"][0]["id"] == chosen["model_choice"]["model"]


def test_a_plan_writes_nothing_unless_asked(sweeper, here):
    sweeper(*SIZE, "--gpu-memory", "24")
    assert list(here.iterdir()) == []
    wrote = sweeper(*SIZE, "--gpu-memory", "24", "-o", "sweep.yaml")
    assert wrote.err == "Written: sweep.yaml\n"  # no data to train on
    assert [path.name for path in here.iterdir()] == ["sweep.yaml"]
    again = sweeper("plan", "sweep.yaml", "--json")
    assert again.code == 0
    assert '"recommended": "lora"' in again.out


def test_nothing_fits_exits_with_3_and_says_what_would(sweeper):
    ran = sweeper(*SIZE[:-1], "70B", "--gpu-memory", "2")
    assert ran.code == 3
    assert ran.err.startswith(
        "error[nothing-fits]: Nothing fits 70B on one 2 GiB GPU; qlora needs least, "
    )
    assert "would fit" in ran.err
    assert ran.err.count("error[") == 1
    assert "\n  lora cannot be used for 70B: needs" in ran.err


def test_tasks_of_other_tools_are_told_where_to_go(sweeper):
    ran = sweeper("plan", "--task", "dpo", "--model", "8B", "--examples", "2000")
    assert ran.code == 2
    assert "task = 'dpo' is out of scope" in ran.err
    assert "TRL (https://huggingface.co/docs/trl)" in ran.err


def test_json_holds_everything_where_nothing_fits(sweeper):
    ran = sweeper(*SIZE[:-1], "70B", "--gpu-memory", "24", "--json")
    assert ran.code == 3
    told = json.loads(ran.out)
    assert told["candidates"] == []
    assert told["nearest"] in ran.err
    assert {one["strategy"] for one in told["rejected"]} >= {"full", "lora", "qlora"}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"decided_by": "user"}, "language: far from general text (as stated)"),
        (
            {"decided_by": "tokens-per-word", "tokens_per_word": 2.0,
             "general_tokens_per_word": 1.25},
            "language: far from general text (1.60 times as many tokens a word as general text)",
        ),
        (
            {"decided_by": "bits-per-byte", "tokens_per_word": 1.25, "bits_per_byte": 2.0,
             "general_tokens_per_word": 1.25, "general_bits_per_byte": 1.5},
            "language: far from general text (2.00 bits a byte under the model, general text "
            "1.50; also 1.00 times as many tokens a word as general text)",
        ),
    ],
    ids=["stated", "words", "bits"],
)  # fmt: skip
def test_the_domain_is_told_with_every_measure_of_it(facts, said):
    assert domain_line(DomainFacts(distance="far", **facts)) == said


def test_a_suite_is_a_line_of_the_budget_and_a_field_of_the_json(sweeper, here):
    (here / "suite.yaml").write_text("task: gsm8k\ndataset_path: hub\nmetadata: {limit: 9}\n")
    asked = ("plan", "--task", "instruction", "--examples", "200", "--model", "7B")
    asked += ("--gpu-memory", "80", "--suite", "suite.yaml")
    shown = sweeper(*asked)
    assert shown.code == 0, shown.err
    assert "suite: base and finalists on 1 task " in " ".join(shown.out.split())
    whole = sweeper(*asked, "-v").out
    assert "assumes 9 items" in " ".join(whole.split())
    budget = json.loads(sweeper(*asked, "--json").out)["budget"]
    phases = budget["phases"]
    assert 0 < phases["suite"]["low"] < phases["suite"]["seconds"] < phases["suite"]["high"]
    whole = sum(phase["seconds"] for phase in phases.values())
    assert budget["sweep"]["seconds"] == pytest.approx(whole, abs=0.1)


def test_a_plan_and_its_explanation_say_what_the_user_declared(sweeper, here):
    declared = ("--set", "lora.r=[8, 512]", "--set", "all.weight_decay=0.2")
    declared += ("--strategies", "lora,full")  # plans of all take seconds to explain
    ran = sweeper(*SIZE, "--gpu-memory", "80", *declared, "-v")
    shown = " ".join(ran.out.split("Declared")[1].split())
    assert "r {8|512} (8) (lora): --set lora.r; the rule book: " in shown
    assert "weight_decay 0.2 (lora, " in shown
    assert "r 512 (--set lora.r) lies outside 1 to 256" in shown.split("Watch out")[1]
    made = sweeper(*SIZE, "--gpu-memory", "80", *declared, "--json").out
    Path("plan.json").write_text(made)
    parts = json.loads(sweeper("explain", "plan.json", "--json", "--strategy", "lora").out)
    names = {(one["strategy"], one["parameter"]) for one in parts["declared"]}
    assert names == {("lora", "r"), ("lora", "weight_decay")}


def test_a_broken_line_is_named_first_with_its_file(sweeper, here):
    rows = [{"text": f"where is card {n}", "label": "ab"[n % 2]} for n in range(60)]
    lines = [json.dumps(row) for row in rows]
    lines[16] = '{"text": "x'
    (here / "rows.jsonl").write_text("\n".join(lines))
    data = ("--task", "classification", "--model", "packaged:minilm", "--data", "rows.jsonl")
    first = " ".join(sweeper("plan", *data).out.splitlines()[:2])
    assert "rows.jsonl:17" in first
    plan = json.loads(sweeper("plan", *data, "--json").out)
    (fault,) = [one for one in plan["facts"]["data"]["faults"] if one["kind"] == "unreadable"]
    assert (fault["rows"], fault["where"]) == (1, "rows.jsonl:17")


def test_plans_are_the_same_to_the_byte(sweeper):
    first = sweeper(*SIZE, "--gpu-memory", "24", "--json").out
    assert sweeper(*SIZE, "--gpu-memory", "24", "--json").out == first


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
    lines = [line for line in ran.err.splitlines() if line.startswith("error[")]
    places = [line.split("sweep.yaml:")[1].split(" ")[0] for line in lines]
    assert places == ["6", "7", "8", "9", "10", "12", "13", "15", "17", "18"]
    assert "Traceback" not in ran.err


def test_a_budget_below_one_trial_says_what_to_cut_and_counts_no_trials(sweeper):
    ran = sweeper("plan", "--task", "instruction", "--examples", "2000", "--model", "7B",
                  "--gpu-memory", "24", "--budget", "0.01gpuh")  # fmt: skip
    assert ran.code == 3
    assert "no room for a trial" in " ".join(ran.err.split())
