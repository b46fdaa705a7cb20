from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import RuleError
from sweeper.planning.planner import make_plan
from sweeper.planning.rulebook.apply_rules import RatedStrategy, rated_strategies
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.planning.rulebook.fact_table import fact_values
from sweeper.plans import Parameter, Quality


def book_with(tmp_path: Path, *changes: str) -> RuleBook:
    rules = [
        f"- id: mine-{number}\n  title: Mine {number}\n  then: {{parameters: {change}}}\n"
        f"  why: Because of {{examples}} rows.\n  source: me {number}\n"
        for number, change in enumerate(changes)
    ]
    (tmp_path / "own.yaml").write_text("".join(rules), encoding="utf-8")
    return rule_book((str(tmp_path),))


def rated(book: RuleBook, scene: Any, strategy: str = "lora", **facts: Any) -> RatedStrategy:
    spec, gathered = scene(**facts)
    return rated_strategies(book, fact_values(spec, gathered, gathered.models[0]))[strategy]


def rate(book: RuleBook, scene: Any, **facts: Any) -> tuple[Any, ...]:
    parameter = rated(book, scene, **facts).parameters["learning_rate"]
    return parameter.low, parameter.high, parameter.default


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("{lora.learning_rate: {range: [2.0e-4, 8.0e-4]}}", (2e-4, 8e-4, 6e-4)),
        ("{lora.learning_rate: {range: [3.0e-4, 6.0e-4]}}", (3e-4, 6e-4, 4.24e-4)),
        ("{lora.learning_rate: {default: 2.0e-4}}", (1e-4, 1e-3, 2e-4)),
        ("{'*.learning_rate': {default: 2.0e-4}}", (1e-4, 1e-3, 2e-4)),
        (
            "{lora.learning_rate: {default_from: {fact: examples, at: {1: 1.0e-5, 4000: 1.6e-3}}}}",
            (1e-4, 2.4e-3, 1.6e-3),
        ),
        (
            "{lora.learning_rate: {default_from: {fact: classes, at: {2: 1.0e-3}}}}",
            (1e-4, 1e-3, 6e-4),
        ),
    ],
)
def test_a_rule_changes_a_range(
    tmp_path: Path, scene: Any, change: str, expected: tuple[float, ...]
) -> None:
    assert rate(book_with(tmp_path, change), scene) == pytest.approx(expected)


def test_a_changed_parameter_names_its_rule(tmp_path: Path, scene: Any) -> None:
    book = book_with(tmp_path, "{lora.r: {range: [4, 32]}}")
    parameter = rated(book, scene).parameters["r"]
    assert parameter.source == "me 0"
    assert parameter.why == "Mine 0: Because of 4,000 rows."


def test_a_star_excludes_every_strategy(tmp_path: Path, scene: Any) -> None:
    rule = "- {id: none, title: None, then: {exclude: '*'}, why: It is so., source: me}\n"
    (tmp_path / "own.yaml").write_text(rule, encoding="utf-8")
    book = rule_book((str(tmp_path),))
    spec, gathered = scene()
    found = rated_strategies(book, fact_values(spec, gathered, gathered.models[0]))
    assert set(found) == set(book.strategies)
    assert {one.refused for one in found.values()} == {("It is so.", "none", "me")}


def test_the_quality_of_a_strategy_pools_its_file_and_the_gaps_in_its_reasons(scene: Any) -> None:
    spec, gathered = scene()
    book = rule_book()
    found = rated_strategies(book, fact_values(spec, gathered, gathered.models[0]))
    for name, rated_strategy in found.items():
        broad = book.strategies[name].quality
        gaps = [reason.gap for reason in rated_strategy.reasons if reason.gap]
        estimates = [Quality(mean=broad.points, sd=broad.sd), *gaps]
        assert rated_strategy.quality == Quality.pooled(estimates)
        assert all(rated_strategy.quality.sd <= one.sd for one in estimates)
    assert found["qlora"].quality == Quality(mean=-0.108, sd=0.24)


def test_what_was_measured_well_counts_more_and_nothing_twice() -> None:
    exact, vague = Quality(mean=1.0, sd=0.1), Quality(mean=-1.0, sd=1.0)
    assert Quality.pooled([exact, vague]).mean == pytest.approx(0.98, abs=0.01)
    assert Quality.pooled([exact, exact]).mean == exact.mean


def test_a_gap_follows_a_fact_without_steps(tmp_path: Path, scene: Any) -> None:
    (tmp_path / "own.yaml").write_text(
        "- id: mine\n  title: Mine\n  then: {gap: {full: {points_from: {fact: examples, "
        "at: {1000: 0, 100000: 2}}, sd: 0.001}}}\n  why: Because.\n  source: me\n",
        encoding="utf-8",
    )
    book = rule_book((str(tmp_path),))
    means = [rated(book, scene, "full", rows=n).quality.mean for n in (500, 10_000, 10**6)]
    assert means == pytest.approx([0, 1, 2], abs=0.01)


def test_a_later_rule_wins_and_the_disagreement_is_shown(tmp_path: Path, scene: Any) -> None:
    searched = "{{lora.r: {{range: [{}], searched: true}}}}"
    book = book_with(tmp_path, searched.format("4, 6"), searched.format("40, 60"))
    found = rated(book, scene)
    assert (found.parameters["r"].low, found.parameters["r"].high) == (40, 60)
    caution = next(c for c in found.cautions if c.disagrees_with == "mine-0")
    assert "mine-0 gives 4 to 6" in caution.why
    assert "mine-1 gives 40 to 60" in caution.why
    assert "me 0" in caution.why


def test_a_refinement_is_no_disagreement(tmp_path: Path, scene: Any) -> None:
    book = book_with(tmp_path, "{lora.r: {range: [8, 16]}}")
    assert not [c for c in rated(book, scene).cautions if c.rule == "mine-0"]


def test_a_rule_can_set_choices_a_prior_and_whether_to_search(tmp_path: Path, scene: Any) -> None:
    book = book_with(
        tmp_path,
        "{lora.target_modules: {choices: [qv], default: qv, searched: false}, "
        "lora.learning_rate: {prior: {center: 2.5e-4, spread: 0.1}}}",
    )
    found = rated(book, scene).parameters
    assert found["target_modules"].choices == ("qv",)
    assert found["target_modules"].searched is False
    assert found["learning_rate"].prior is not None
    assert found["learning_rate"].prior.center == 2.5e-4


def test_without_a_published_density_the_default_is_the_mode(scene: Any) -> None:
    found = rated(rule_book(), scene, "qlora").parameters
    prior = found["learning_rate"].prior
    assert prior is not None
    assert prior.center == found["learning_rate"].default
    weights = found["per_device_train_batch_size"].prior
    assert weights is not None
    assert weights.weights == (0.25, 0.5, 0.25)


def test_head_parameters_exist_only_with_a_new_head(scene: Any) -> None:
    plain = rated(rule_book(), scene).parameters
    assert "head_learning_rate" not in plain
    headed = rated(rule_book(), scene, task="classification", labels=3).parameters
    assert headed["head_learning_rate"].default == 1e-2
    assert (headed["head_learning_rate"].low, headed["head_learning_rate"].high) == (1e-3, 3e-2)
    assert set(headed["head_init"].choices or ()) == {"random", "probe"}
    assert headed["head_init"].searched


def test_the_epochs_of_the_study_are_every_candidates(scene: Any) -> None:
    plan = make_plan(*scene(model="smollm2", training={"epochs": 7}))
    for candidate in plan.candidates:
        epochs: Parameter = candidate.parameters["num_train_epochs"]
        assert epochs.default == 7
        assert not epochs.searched


def test_small_models_leave_the_best_practice_range(scene: Any) -> None:
    facts = {"task": "classification", "model": "minilm", "labels": 2, "gpu_gib": None}
    low, high, default = rate(rule_book(), scene, rows=1500, **facts)
    assert (low, high, default) == pytest.approx((3.63e-4, 3.63e-3, 9.53e-4), rel=0.02)


def test_prompt_methods_get_rates_far_above_loras(scene: Any) -> None:
    named = {"aim": {"strategies": ("lora", "prefix", "full")}}
    prefix = rated(rule_book(), scene, "prefix", **named).parameters["learning_rate"]
    lora = rated(rule_book(), scene, "lora", **named).parameters["learning_rate"]
    full = rated(rule_book(), scene, "full", **named).parameters["learning_rate"]
    assert float(prefix.default) >= 10 * float(lora.default)
    assert 10 * float(full.default) <= float(lora.default) <= 60 * float(full.default)


def test_a_disagreement_that_a_later_rule_settles_is_not_told(tmp_path: Path, scene: Any) -> None:
    book = book_with(
        tmp_path,
        "{lora.r: {range: [10, 20], default: 12}}",
        "{lora.r: {range: [4, 60], default: 40}}",
        "{lora.r: {range: [12, 16], default: 12}}",
    )
    assert not [c for c in rated(book, scene).cautions if c.disagrees_with and "r" in c.changes]


def test_of_several_overruled_rules_the_plan_tells_what_it_follows(
    tmp_path: Path, scene: Any
) -> None:
    book = book_with(
        tmp_path,
        "{lora.r: {range: [4, 6]}}",
        "{lora.r: {range: [40, 60], default: 50}}",
        "{lora.r: {range: [20, 50], default: 30}}",
    )
    found = rated(book, scene)
    (caution,) = [c for c in found.cautions if c.disagrees_with and "r" in c.changes]
    assert caution.rule == "mine-2"
    assert caution.disagrees_with == "mine-1"
    assert caution.changes == {"r": found.parameters["r"].range}


@pytest.mark.parametrize("model", ["smollm2", "7B", "13B", "70B"])
@pytest.mark.parametrize("rows", [400, 4_000, 60_000, 200_000])
def test_what_a_plan_says_it_follows_is_what_it_does(scene: Any, model: str, rows: int) -> None:
    spec, facts = scene(model=model, rows=rows, gpu_gib=24.0)
    for found in rated_strategies(rule_book(), fact_values(spec, facts, facts.models[0])).values():
        for caution in found.cautions:
            if caution.disagrees_with:
                (name,) = caution.changes
                assert str(found.parameters[name].range) in caution.why


def test_large_models_keep_their_ceiling_on_much_data(scene: Any) -> None:
    facts = {"model": "70B", "rows": 35_000}
    lora, qlora = (rate(rule_book(), scene, strategy=s, **facts) for s in ("lora", "qlora"))
    assert lora == (1e-4, 5e-4, 3e-4)
    assert qlora == (5e-5, 3e-4, 1e-4)
    assert rate(rule_book(), scene, model="13B", rows=35_000) == (1e-4, 1e-3, 4.99e-4)


@pytest.mark.parametrize("strategy", ["lora", "qlora"])
def test_dropout_is_searched_where_rows_repeat(scene: Any, strategy: str) -> None:
    def dropout(**facts: Any) -> tuple[Any, bool]:
        known = rated(rule_book(), scene, strategy, **facts).parameters["lora_dropout"]
        return known.default, known.searched

    assert dropout(model="13B", rows=999) == (0, True)
    assert dropout(model="13B", rows=1000) == dropout(model="70B", rows=999) == (0, False)
    assert dropout(model="minilm", task="classification", rows=500) == (0, False)


OWN_LORA = """\
strategy: lora
title: Our LoRA
what: LoRA as we train it.
quality: {text: as measured by us, source: house rule}
parameters:
  learning_rate:
    kind: float
    log: true
    range: [1.0e-3, 2.0e-3]
    default: 1.5e-3
    source: house rule
    why: Our models want it.
  training: shared
  num_train_epochs: {shared: true, default: 2}
"""


def own_strategy(tmp_path: Path, rules: str = "") -> RuleBook:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "lora.yaml").write_text(OWN_LORA, encoding="utf-8")
    if rules:
        return book_with(tmp_path, rules)
    return rule_book((str(tmp_path),))


def test_what_a_users_own_strategy_file_states_is_kept(tmp_path: Path, scene: Any) -> None:
    found = rated(own_strategy(tmp_path), scene)
    rate, epochs = found.parameters["learning_rate"], found.parameters["num_train_epochs"]
    assert (rate.low, rate.high, rate.default) == (1e-3, 2e-3, 1.5e-3)
    assert rate.source == "house rule"
    assert epochs.default == 2
    kept = {name: c for c in found.cautions if not c.applied for name in c.changes}
    assert set(kept) == {"learning_rate", "num_train_epochs"}
    assert kept["learning_rate"].changes["learning_rate"] != rate.range
    text = kept["learning_rate"].why
    assert "your own strategy file gives 1e-3 to 2e-3, default 1.5e-3, and the plan keeps" in text
    assert "lora-rate-of-recipes" in text
    assert "leave learning_rate out of your file" in text


def test_rules_that_ship_change_what_it_includes_and_does_not_state(
    tmp_path: Path, scene: Any
) -> None:
    found = rated(own_strategy(tmp_path), scene, rows=400)
    batch = found.parameters["per_device_train_batch_size"]
    assert (batch.choices, batch.default) == ((8, 16, 32), 16)
    assert found.quality.mean == rated(rule_book(), scene, rows=400).quality.mean


def test_a_users_own_rule_changes_what_their_strategy_file_states(
    tmp_path: Path, scene: Any
) -> None:
    book = own_strategy(tmp_path, "{lora.learning_rate: {default: 2.0e-3}}")
    assert rated(book, scene).parameters["learning_rate"].default == 2e-3


def test_a_users_own_rule_is_held_to_their_own_strategy_file(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"0\.001 to 0\.002"):
        own_strategy(tmp_path, "{lora.learning_rate: {default: 2.0e-4}}")
