from __future__ import annotations

import pytest
from spaces import LIMIT, RATE, SPACE, beyond, ended, report

from sweeper.plans import Configuration, Origin
from sweeper.search import study_end
from sweeper.search.alone import Space, StrategySpace, TrialBudget
from sweeper.search.search import Search
from sweeper.search.study_end import Ending, decide, gains_too_little, still_ends
from sweeper.spec import SearchSpec

LORA = Configuration(strategy="lora")


def restore(search: Search, number: int, loss: float | None, violation: float | None = None,
            origin: Origin = "search", strategy: str = "lora") -> None:  # fmt: skip
    rate = {"learning_rate": 2e-4}
    trial = Configuration(number=number, strategy=strategy, parameters=rate, origin=origin)
    reports = [report(rung, (loss or 1.0) + 1 / rung) for rung in range(1, 9)]
    result = ended("COMPLETE", loss, measures=beyond(violation))
    search.restore(trial, reports, None if loss is None else result)


def search_of(
    *trials: tuple[float | None, float | None], starts: tuple[Configuration, ...] = ()
) -> Search:
    search = Search(SPACE, starts, limits=(LIMIT,))
    for number, one in enumerate(trials):
        restore(search, number, *one)
    return search


@pytest.mark.parametrize(
    ("trials", "reached"),
    [
        ([(0.6, None), (0.5, None)], 1),
        ([(0.4, None), (0.3, None)], 0),
        ([(0.6, None), (0.55, None)], None),
        ([(0.4, 0.01), (0.5, 0.0)], 1),
        ([(0.4, 0.01)], None),
    ],
    ids=["at it", "the first", "none", "the one within the limit", "none within the limit"],
)
def test_the_first_trial_at_the_target_that_keeps_to_the_limit_ends_a_search(
    trials: list[tuple[float, float | None]], reached: int | None
) -> None:
    found = decide(search_of(*trials), SearchSpec(target_loss=0.5, trials=30))
    if reached is None:
        assert found is None
    else:
        assert found is not None
        assert (found.kind, found.total) == ("target", 30)
        assert found.because.startswith(f"trial {reached} reached a validation loss of")


def test_without_being_asked_for_nothing_ends_a_search() -> None:
    assert decide(search_of((1e-9, None)), SearchSpec()) is None


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_end, "gains_too_little", lambda search: "nothing is left")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(("origin", "ends"), [("search", True), ("default", False)])
def test_a_search_settles_only_once_all_that_was_given_has_ended(
    origin: Origin, ends: bool
) -> None:
    search = search_of((0.5, None))
    restore(search, 1, None, origin=origin)
    found = decide(search, SearchSpec(stop_when_settled=True))
    assert found == (Ending(kind="settled", because="nothing is left", total=20) if ends else None)


@pytest.mark.usefixtures("settled")
def test_a_search_does_not_settle_before_its_starts_were_tried() -> None:
    search = search_of((0.5, None), starts=(LORA,))
    assert search.untried == [LORA]
    assert decide(search, SearchSpec(stop_when_settled=True)) is None


@pytest.mark.parametrize(
    ("violation", "strategies", "ends"),
    [(None, ("lora", "full"), True), (None, ("lora",), False), (0.1, ("lora", "full"), False)],
    ids=["all tried", "a strategy is left", "nothing keeps to the limit"],
)
def test_a_search_settles_once_every_strategy_was_tried_within_the_limit(
    violation: float | None, strategies: tuple[str, ...], ends: bool
) -> None:
    rate = {"learning_rate": RATE}
    both = [StrategySpace(strategy=name, parameters=rate) for name in ("lora", "full")]
    space = Space(candidates=both, budget=TrialBudget(rungs=8, first_rung=2))
    search = Search(space, limits=(LIMIT,))
    for number in range(12):
        restore(search, number, 0.5, violation, strategy=strategies[number % len(strategies)])
    assert bool(gains_too_little(search)) is ends


@pytest.mark.parametrize(
    ("kind", "asked", "stays"),
    [
        ("settled", SearchSpec(stop_when_settled=True, trials=20), True),
        ("settled", SearchSpec(stop_when_settled=True, trials=21), False),
        ("settled", SearchSpec(trials=20), False),
        ("target", SearchSpec(target_loss=0.1, trials=20), False),
    ],
)
def test_an_ending_holds_where_nothing_more_is_asked_for(
    kind: str, asked: SearchSpec, stays: bool
) -> None:
    ending = Ending.model_validate({"kind": kind, "because": "it was so", "total": 20})
    assert still_ends(ending, asked) is stays
