from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from curve_backend import make_plan
from spaces import ended, report

from sweeper.facts.record import LabelCount
from sweeper.plans import Configuration, Parameter, Plan
from sweeper.search.cost_model.trial_costs import TrialCosts
from sweeper.search.pruner import PruningDecision, SweeperPruner, guessing_loss
from sweeper.search.search import Search
from sweeper.spec import Scalar
from sweeper.trials import FirstItems, State

PLAN = make_plan()
RUNNING, COMPLETE = None, "COMPLETE"


def curve(final: float, rungs: int = 8, start: float = 1.0) -> dict[int, float]:
    return {k: final + (start - final) * math.exp(-k / 2) for k in range(1, rungs + 1)}


def trial(
    losses: dict[int, float],
    state: State | None,
    *,
    start: str = "random",
    strategy: str = "full",
    origin: str = "search",
    items: dict[int, FirstItems] | None = None,
    loss: float | None = None,
    **searched: Scalar,
) -> TrialCosts:
    searched |= {"learning_rate": 2e-5, "head_init": start}
    known = items or {}
    reports = {k: report(k, value, first_items=known.get(k)) for k, value in losses.items()}
    final = losses.get(8, min(losses.values())) if loss is None else loss
    result = None if state is None else ended(state, final)
    chosen = Configuration(strategy=strategy, origin=origin, parameters=searched)
    return TrialCosts.of(chosen, reports, result, PLAN)


def numbered(trials: list[TrialCosts]) -> list[TrialCosts]:
    return [
        replace(one, config=one.config.model_copy(update={"number": number}))
        for number, one in enumerate(trials)
    ]


def ask(others: list[TrialCosts], own: TrialCosts, plan: Plan = PLAN) -> PruningDecision:
    trials = numbered([*others, own])
    return SweeperPruner(plan).decide(trials[-1], trials)


def complete(*finals: float, **fields: str) -> list[TrialCosts]:
    return [trial(curve(final), COMPLETE, **fields) for final in finals]


def running(final: float, rungs: int, **fields: str) -> TrialCosts:
    return trial(curve(final, rungs), RUNNING, **fields)


def test_a_trial_not_expected_to_reach_the_best_stops_with_the_reason_in_words() -> None:
    decision = ask(complete(0.30, 0.32, 0.34), running(0.7, 2))
    assert decision.prune
    assert "stopped at rung 2 of 8 with validation loss" in decision.because
    assert "worse than 3 of 3 full trials that start from random" in decision.because
    assert "; the best so far is 0.3128" in decision.because


def test_the_same_trial_goes_on_before_the_first_rung_that_may_prune() -> None:
    assert not ask(complete(0.30, 0.32, 0.34), running(0.7, 1)).prune


def test_a_trial_that_leads_goes_on() -> None:
    assert not ask(complete(0.30, 0.40, 0.50), running(0.29, 2)).prune


def test_the_first_trials_of_a_strategy_and_start_pass_whatever_others_reached() -> None:
    near = {1: 0.50, 2: 0.48}
    probe = trial(near, RUNNING, start="probe")
    assert not ask(complete(0.30, 0.31, 0.32), probe).prune
    assert not ask(complete(0.3, 0.31, 0.32, strategy="lora"), running(0.7, 2)).prune


def test_a_trial_above_what_good_trials_ever_came_down_from_stops_whatever_its_strategy() -> None:
    far = {1: 0.90, 2: 0.85}
    best = complete(0.30, strategy="lora")
    decision = ask(best, trial(far, RUNNING, start="probe"))
    assert decision.prune
    assert "as much as good trials of recorded sweeps did from here" in decision.because
    assert "it would end at 0.3655; the best so far is 0.3128" in decision.because
    assert not ask(best, trial(far, RUNNING, start="random")).prune
    assert not ask(best, trial(far, RUNNING, start="probe", origin="user")).prune


def test_few_items_that_scatter_keep_a_trial_that_is_far_above_the_best() -> None:
    far = {2: 0.65, 4: 0.60}
    even, few = [1.0] * 20, [9.0, 9.0, *[0.05] * 18]
    others = scored(curve(0.30), even)
    for pattern, prunes in ((even, True), (few, False)):
        one = trial(far, RUNNING, start="probe", items=_items(far, pattern))
        assert ask([others], one).prune is prunes


def test_a_trial_that_doubt_cannot_tell_from_the_best_goes_on() -> None:
    # After one end the doubt is that of belief, which falls as the budget is spent.
    assert not ask(complete(0.30), running(0.34, 2)).prune
    assert ask(complete(0.30, 0.30, 0.31, 0.31), running(0.45, 4)).prune
    wobble = [0.05, -0.05, 0.06, -0.06, 0.05, -0.05, 0.06, 0.0]
    noisy = []
    for number, final in enumerate((0.300, 0.301, 0.302, 0.303)):
        losses = curve(final)
        jumps = {k: losses[k] + (-1) ** number * wobble[k - 1] for k in losses}
        noisy.append(trial(jumps, COMPLETE))
    assert not ask(noisy, running(0.40, 4)).prune


def scored(losses: dict[int, float], pattern: list[float], whole: float = 1.0) -> TrialCosts:
    """A trial whose rungs see items of such a pattern, of many; ends are on all of them."""
    state = COMPLETE if 8 in losses else RUNNING
    items = _items(losses, pattern)
    if 8 in losses:
        losses = {**losses, 8: losses[8] * whole}
    return trial(losses, state, items=items)


def _items(losses: dict[int, float], pattern: list[float]) -> dict[int, FirstItems]:
    shares = [one / sum(pattern) * len(pattern) for one in pattern]
    return {k: FirstItems.among([loss * one for one in shares], 1000) for k, loss in losses.items()}


def test_a_trial_that_other_items_might_put_ahead_goes_on() -> None:
    """Half-way it stands a third above its peers, on 20 items of which each has its own two."""
    even = [1.0] * 20
    few = [[0.05] * k + [9.0, 9.0] + [0.05] * (18 - k) for k in (0, 3, 6, 9, 12)]
    finals = (0.30, 0.31, 0.32, 0.33)
    known = [scored(curve(final), even) for final in finals]
    assert ask(known, scored(curve(0.45, 4), even)).prune
    by_few = [scored(curve(final), pattern) for final, pattern in zip(finals, few, strict=False)]
    assert not ask(by_few, scored(curve(0.45, 4), few[-1])).prune
    agreed = [scored(curve(final), few[0]) for final in finals]
    assert ask(agreed, scored(curve(0.45, 4), few[0])).prune


def test_on_easy_items_a_small_loss_is_no_multiple_of_another() -> None:
    """Peers have 0.01 on the rung's items and end with 0.2 on all: 0.02 there is 0.01 more."""
    pattern = [1.0, 2.0, 3.0]
    easy = {2: 0.012, 4: 0.0102, 6: 0.0101, 8: 0.01}
    own = {2: 0.022, 4: 0.0202, 6: 0.0201}
    peers = [scored(easy, pattern, whole=20.0) for _ in range(3)]
    assert not ask(peers, scored(own, pattern)).prune
    # Where nobody told of items, it would end at twice what they did.
    blind = [trial({**easy, 8: 0.2}, COMPLETE) for _ in range(3)]
    decision = ask(blind, trial(own, RUNNING))
    found = re.search(r"it would end between ([\d.]+) and ([\d.]+)", decision.because)
    assert found is not None
    assert math.sqrt(float(found[1]) * float(found[2])) == pytest.approx(0.4, rel=0.02)


def test_a_trial_is_judged_by_those_that_train_as_long_as_it_does() -> None:
    """Half as long, it stands at rung 2 where trials do that will end much lower."""
    plan = make_plan()
    lora = plan.candidate("lora")
    epochs = Parameter(kind="categorical", choices=(1.0, 2.0), default=2.0, source="test")
    longer = lora.model_copy(update={"parameters": {**lora.parameters, "num_train_epochs": epochs}})
    plan = plan.model_copy(update={"candidates": (longer,)})

    def of(length: float, losses: dict[int, float], state: State | None) -> TrialCosts:
        rungs = round(8 * length / 2)
        final = min(losses.values())
        made = trial(losses, state, strategy="lora", loss=final, num_train_epochs=length)
        return replace(made, rungs=rungs)

    def asked(own: TrialCosts, *others: TrialCosts) -> bool:
        return ask([*others], own, plan).prune

    long = [of(2.0, curve(0.3 + k / 100), COMPLETE) for k in range(4)]
    short = [of(1.0, curve(0.3 + k / 100, 4), COMPLETE) for k in range(4)]
    behind = {1: 0.80, 2: 0.72}
    assert asked(of(2.0, behind, RUNNING), *long)
    assert not asked(of(1.0, behind, RUNNING), *long)
    assert asked(of(1.0, behind, RUNNING), *long, *short)
    at_its_end = {**behind, 3: 0.72, 4: 0.72}
    assert not asked(of(1.0, at_its_end, RUNNING), *long, *short)


def test_two_trials_that_ended_are_no_measure_of_how_another_goes_on() -> None:
    assert not ask(complete(0.30), running(0.9, 3)).prune
    assert not ask(complete(0.30, 0.31), running(0.9, 3)).prune
    assert ask(complete(0.30, 0.31, 0.32), running(0.9, 3)).prune


def test_while_few_of_a_strategy_ended_all_of_its_start_are_the_measure() -> None:
    own, lora = complete(0.30), complete(0.30, 0.31, strategy="lora")
    decision = ask([*own, *lora], running(0.9, 3))
    assert decision.prune
    assert "trials of all strategies that start from random" in decision.because
    others = complete(0.30, 0.31, strategy="lora", start="probe")
    assert not ask([*own, *others], running(0.9, 3)).prune


def test_few_trials_of_all_strategies_are_a_more_doubtful_measure_than_its_own() -> None:
    def trials(*strategies: str) -> list[TrialCosts]:
        finals = zip((0.30, 0.33, 0.40), strategies, strict=True)
        return [trial({3: 0.5, 8: one}, COMPLETE, strategy=of) for one, of in finals]

    own = trial({3: 0.59}, RUNNING)
    assert ask(trials("full", "full", "full"), own).prune
    assert not ask(trials("full", "lora", "lora"), own).prune
    assert ask(trials("full", "lora", "lora"), trial({3: 0.65}, RUNNING)).prune


def test_where_early_rungs_foretell_nothing_they_prune_nothing() -> None:
    # Who leads at rung 2 ends anywhere: the line through the ends is flat.
    finals = [0.50, 0.30, 0.45, 0.32, 0.47, 0.31]
    early = [0.60, 0.70, 0.61, 0.69, 0.62, 0.71]
    others = [
        trial({1: 1.0, 2: first, **dict.fromkeys(range(3, 9), last)}, COMPLETE)
        for first, last in zip(early, finals, strict=True)
    ]
    own = trial({1: 1.0, 2: 0.75}, RUNNING)
    assert not ask(others, own).prune


def test_a_slow_starter_is_kept_where_ends_show_that_slow_ones_catch_up() -> None:
    # The worse at rung 4, the more is gained: all end alike.
    others = [
        trial({1: 1.5, 2: 1.2, 4: early, 8: 0.30}, COMPLETE) for early in (0.5, 0.6, 0.7, 0.8, 0.9)
    ]
    assert not ask(others, trial({1: 1.5, 2: 1.2, 4: 1.0}, RUNNING)).prune


def test_a_lucky_rung_before_does_not_save_a_trial_that_is_behind_now() -> None:
    others = complete(0.30, 0.31, 0.32, 0.33, 0.34)
    lucky = {**curve(0.9, 4), 2: 0.62}
    assert ask(others, trial(lucky, RUNNING)).prune
    assert not ask(others, trial(curve(0.3, 4), RUNNING)).prune


@pytest.mark.parametrize("origin", ["default", "user"])
def test_defaults_and_own_trials_are_what_others_are_measured_by_and_run_to_their_end(
    origin: str,
) -> None:
    assert not ask(complete(0.30, 0.32, 0.34), running(0.9, 4, origin=origin)).prune


@pytest.mark.parametrize(
    ("losses", "word"),
    [({1: 0.5, 2: 1.8}, "rose from 0.5 to 1.8"), ({1: 0.5, 2: math.inf}, "diverged")],
)
def test_a_diverging_trial_is_cut_at_once_even_if_it_is_alone_and_a_default(
    losses: dict[int, float], word: str
) -> None:
    decision = ask([], trial(losses, RUNNING, origin="default"))
    assert decision.prune
    assert word in decision.because


def with_classes(*rows: int):
    counts = tuple(LabelCount(label=str(n), rows=n_rows) for n, n_rows in enumerate(rows))
    data = PLAN.facts.data.model_copy(update={"labels": counts})
    return PLAN.model_copy(update={"facts": PLAN.facts.model_copy(update={"data": data})})


def test_chance_is_the_loss_of_the_class_frequencies_or_of_any_token() -> None:
    assert guessing_loss(with_classes(10, 10, 10, 10)) == pytest.approx(math.log(4))
    assert guessing_loss(with_classes(90, 10)) == pytest.approx(0.325, abs=1e-3)
    assert guessing_loss(PLAN) == math.inf
    named = with_classes(10, 10)
    named = named.model_copy(
        update={"facts": named.facts.model_copy(update={"classes_by": "generate"})}
    )
    assert guessing_loss(named) == math.inf
    text = PLAN.facts.model_copy(update={"task": "instruction"})
    assert guessing_loss(PLAN.model_copy(update={"facts": text})) == pytest.approx(math.log(100))
    several = text.model_copy(update={"models": text.models * 2})  # bits a byte, not nats a token
    assert guessing_loss(PLAN.model_copy(update={"facts": several})) == math.inf


@pytest.mark.parametrize(
    ("losses", "origin", "prunes"),
    [
        ({1: 407.0}, "default", True),
        ({1: 1.6}, "search", False),
        ({1: 1.6, 2: 1.5}, "search", True),
        ({1: 1.6, 2: 1.5}, "default", False),
        ({1: 1.6, 2: 1.3}, "search", False),
    ],
)
def test_what_is_worse_than_guessing_is_cut(
    losses: dict[int, float], origin: str, prunes: bool
) -> None:
    decision = ask([], trial(losses, RUNNING, origin=origin), with_classes(10, 10, 10, 10))
    assert decision.prune is prunes
    assert ("worse than guessing (1.386)" in decision.because) is prunes


@pytest.mark.parametrize(
    ("weight", "prunes"), [(None, True), ("balanced-sqrt", False), ("balanced", False)]
)
def test_whoever_learns_to_favour_a_rare_class_is_not_worse_than_guessing(
    weight: str | None, prunes: bool
) -> None:
    """One row in a hundred is rare: frequencies score 0.056, and weights in training cost more."""
    plan = with_classes(990, 10)
    assert guessing_loss(plan) == pytest.approx(0.056, abs=1e-3)
    assert guessing_loss(plan, 0.5) == pytest.approx(0.119, abs=1e-3)
    assert guessing_loss(plan, 1.0) == pytest.approx(math.log(2))
    if weight is not None:
        parameter = Parameter(
            kind="categorical", default=weight, choices=(weight,), searched=False, source="", why=""
        )
        weighing = [
            one.model_copy(update={"parameters": {**one.parameters, "class_weight": parameter}})
            for one in plan.candidates
        ]
        plan = plan.model_copy(update={"candidates": tuple(weighing)})
    assert ask([], trial({1: 0.15}, RUNNING, origin="default"), plan).prune is prunes


def test_overfitting_is_no_divergence() -> None:
    assert not ask([], trial({1: 0.15, 2: 0.40}, RUNNING)).prune


@pytest.mark.parametrize(("lowest", "prunes"), [(0.545, False), (0.70, True)])
def test_a_classifier_that_had_learnt_and_overfits_keeps_its_best_rung(
    lowest: float, prunes: bool
) -> None:
    """Full fine-tuning on 480 rows of two classes, as seen: 0.66, 0.55, 0.86, 1.77."""
    losses = {1: 0.80, 2: lowest, 4: 0.86, 6: 1.77}
    decision = ask([], trial(losses, RUNNING, origin="default"), with_classes(10, 10))
    assert decision.prune is prunes
    assert ("rose from 0.7 to 1.77" in decision.because) is prunes


def test_the_last_rung_never_prunes() -> None:
    assert not ask(complete(0.30, 0.31, 0.32), running(0.9, 8)).prune


def test_another_pruner_is_asked_in_its_own_way() -> None:
    search = Search(PLAN, pruner="optuna:ThresholdPruner(upper=0.5)")
    decision = search.report(search.ask().number, report(3, 0.9))
    assert decision.prune
    assert decision.because.startswith("ThresholdPruner stopped it at rung 3")


@pytest.mark.parametrize(
    ("losses", "whole", "expected"),
    [
        ({2: 0.5, 8: 0.6}, 0.6, 0.2),  # the last rung scored all items: 0.6 there, 0.4 on the first
        ({2: 0.5, 4: 0.7}, 0.6, 0.1),  # ended early: the best rung's weights have 0.6 on all items
    ],
)
def test_how_easy_the_first_items_are_is_known_from_trials_that_ended_early_too(
    losses: dict[int, float], whole: float, expected: float
) -> None:
    first = {8: 0.4}
    items = {k: FirstItems.among([first.get(k, loss)] * 3, 100) for k, loss in losses.items()}
    ended = trial(losses, COMPLETE, items=items, loss=whole)
    assert ended.subset_bias == pytest.approx(expected)
