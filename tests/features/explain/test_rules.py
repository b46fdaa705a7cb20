from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.features.explain import _rules
from sweeper.features.explain._counterfactuals import Counterfactual, counterfactuals
from sweeper.features.explain._rules import fired_rules, mark_clashes, near_misses, request_of
from sweeper.planning.planner import make_plan
from sweeper.traits.traits import traits_of

# A plan of two strategies takes a quarter of the time.
TWO: dict[str, Any] = {"aim": {"strategies": ("lora", "full")}}
FAR: dict[str, Any] = TWO | {"rows": 2000, "gpu_gib": 180.0, "domain": "far"}


def first_with(found: tuple[Counterfactual, ...], strategy: str, fact: str) -> list[float]:
    """The values of a fact with which a strategy would rank first."""
    wanted = (strategy, "ranks first", fact)
    return [one.needed for one in found if (one.strategy, one.outcome, one.fact) == wanted]


def test_more_examples_that_would_change_the_order_are_counted(scene: Any) -> None:
    found = counterfactuals(*scene(**FAR))
    (needed,) = first_with(found, "full", "examples")
    more = {"rows": round(needed)}
    assert make_plan(*scene(**FAR | more)).recommended == "full"
    assert make_plan(*scene(**FAR | {"rows": round(needed) - 1})).recommended == "lora"


def test_the_memory_that_would_make_a_strategy_fit_is_bisected(scene: Any) -> None:
    spec, facts = scene(**TWO, gpu_gib=24.0)
    found = [
        c for c in counterfactuals(spec, facts) if c.strategy == "full" and c.outcome == "fits"
    ]
    by_memory = next(c for c in found if c.fact == "memory_gib")
    assert by_memory.actual == 24
    enough = scene(**TWO, gpu_gib=by_memory.needed)
    assert "full" in {c.strategy for c in make_plan(*enough).candidates}
    short = scene(**TWO, gpu_gib=round(by_memory.needed - 0.1, 1))
    assert "full" not in {c.strategy for c in make_plan(*short).candidates}
    assert any(c.fact == "parameters_billion" and c.needed < c.actual for c in found)


def test_fired_rules_say_when_and_what(scene: Any) -> None:
    found = {rule.rule: rule for rule in fired_rules(*scene())}
    assert found["lora-close-to-full"].strategies == ("full",)
    condition = "examples >= 1,000 rows and examples < 10,000 rows"
    assert found["lora-medium-data"].condition == condition
    assert (
        found["lora-close-to-full"]
        .effects[0]
        .startswith("quality of full: 0 at 0.01, 0.5 at 0.05 and 2 at 0.5")
    )
    assert "lora.r: 8 to 64, default 16" in found["lora-rank"].effects
    assert (found["loss-on-outputs"].why, found["loss-on-outputs"].strategies) == ("", ())


def test_near_misses_are_one_comparison_away_and_the_nearest_come_first(scene: Any) -> None:
    found = near_misses(*scene(rows=9_000))
    assert found[0].rule == "full-large-data"
    assert found[0].missing == "examples >= 10,000 rows"
    assert (found[0].fact, found[0].value) == ("examples", 9_000)
    rules = {miss.rule: miss for miss in found}
    assert "With N epochs a cosine decay" in rules["cosine-for-long-runs"].effects[0]
    assert "full-far-domain" in rules
    assert "code-larger-rank" not in rules
    assert not rules.keys() & {rule.rule for rule in fired_rules(*scene(rows=9_000))}


def test_a_near_miss_of_a_negation_names_the_opposite(scene: Any, tmp_path: Path) -> None:
    when = "{not: {examples: {max: 9000}}}"
    (tmp_path / "own.yaml").write_text(
        f"- {{id: mine, title: M, when: {when}, then: {{leave_out: [full]}}, why: W, source: S}}",
        encoding="utf-8",
    )
    for rows in (8000, 9000):
        spec, facts = scene(rows=rows)
        spec = spec.model_copy(update={"rules": (str(tmp_path),)})
        mine = next(one for one in near_misses(spec, facts) if one.rule == "mine")
        assert (mine.missing, mine.value) == ("examples > 9,000 rows", rows)


def test_a_plan_alone_is_enough_to_explain_it(scene: Any) -> None:
    plan = make_plan(*scene())
    assert fired_rules(request_of(plan), plan.facts) == fired_rules(*scene())


def test_own_rules_take_part(scene: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "- id: mine\n  title: Mine\n  when: {examples: {max: 3000}}\n"
        "  then: {gap: {full: {points: 5, sd: 0.1}}}\n  why: Because.\n  source: me\n",
        encoding="utf-8",
    )
    spec, facts = scene(**TWO, gpu_gib=180.0)
    spec = spec.model_copy(update={"rules": (str(tmp_path),)})
    assert "mine" in {miss.rule for miss in near_misses(spec, facts)}
    found = counterfactuals(spec, facts)
    assert first_with(found, "full", "examples") == [3_000]


def test_strategies_with_the_same_mark_are_named_with_the_free_ones(monkeypatch, sweeper):
    monkeypatch.setattr(_rules, "known_strategies", lambda: ("full", "lora", "mine"))
    mine = traits_of("lora").mark.model_copy(update={"shape": "circle"})
    own = traits_of("lora").model_copy(update={"mark": mine})
    known = _rules.traits_of
    monkeypatch.setattr(_rules, "traits_of", lambda name: own if name == "mine" else known(name))
    shape, line = mark_clashes()
    assert shape.startswith("the charts of full and mine have the same shape; free shapes: diamond")
    assert "square" not in shape
    assert line == (
        "the charts of lora and mine have the same color and dash; "
        "colors that are free without a dash: 0, 3, 4, 5, 6"
    )
    assert f"warning: {shape}\nwarning: {line}\n" in sweeper("rules", "start-with-lora").err
