from __future__ import annotations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.planning.plan import Parameter
from sweeper.search import ending
from sweeper.search.ending import ENDING, Ending
from sweeper.search.engine import RungCount, Space, StrategySpace
from sweeper.search.study import CONSTRAINT, ORIGIN, SPEC, TOTAL
from sweeper.spec import ModelSpec, SearchSpec, Spec

RATE = Parameter(
    kind="float", log=True, low=1e-4, high=3e-4, allowed_low=1e-5, allowed_high=1e-2,
    default=2e-4, source="test",
)  # fmt: skip
SPACE = Space([StrategySpace("lora", {"learning_rate": RATE})], RungCount(8, 2))
KNOWN = {
    "strategy": CategoricalDistribution(("lora",)),
    "lora.learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
}


def trial(loss: float | None, excess: float | None = None, origin: str = "search") -> FrozenTrial:
    state = TrialState.WAITING if loss is None else TrialState.COMPLETE
    return create_trial(
        state=state,
        value=loss,
        params={} if loss is None else {"strategy": "lora", "lora.learning_rate": 2e-4},
        distributions={} if loss is None else KNOWN,
        user_attrs={ORIGIN: origin},
        system_attrs={} if excess is None else {CONSTRAINT: excess},
        intermediate_values={} if loss is None else {rung: loss + 1 / rung for rung in range(1, 9)},
    )


def study_of(*trials: FrozenTrial, **search: object) -> optuna.Study:
    study = optuna.create_study()
    study.add_trials(trials)
    spec = Spec(
        task="classification",
        models=(ModelSpec(id="tiny"),),
        search=SearchSpec.model_validate(search),
    )
    study.set_user_attr(SPEC, spec.to_json())
    study.set_user_attr(TOTAL, spec.search.trials)
    return study


@pytest.mark.parametrize(
    ("trials", "reached"),
    [
        ([trial(0.6), trial(0.5)], 1),
        ([trial(0.4), trial(0.3)], 0),
        ([trial(0.6), trial(0.55)], None),
        ([trial(0.4, excess=0.01), trial(0.5, excess=0.0)], 1),
        ([trial(0.4, excess=0.01)], None),
    ],
    ids=["at it", "the first", "none", "the one within the limit", "none within the limit"],
)
def test_the_first_trial_at_the_target_that_keeps_to_the_limit_ends_a_search(
    trials: list[FrozenTrial], reached: int | None
) -> None:
    study = study_of(*trials, trial(None), target_loss=0.5)
    found = ending.look(study, SPACE)
    assert (found is None) is (reached is None)
    assert study.user_attrs[TOTAL] == (20 if found is None else len(trials))
    if found is not None:
        assert found.because.startswith(f"trial {reached} reached a validation loss of")


def test_without_being_asked_for_nothing_ends_a_search() -> None:
    study = study_of(trial(1e-9))
    assert ending.look(study, SPACE) is None
    assert ENDING not in study.user_attrs


def test_a_study_that_no_command_opened_is_left_alone() -> None:
    study = optuna.create_study()
    assert ending.look(study, SPACE) is None
    assert study.user_attrs == {}


@pytest.mark.parametrize(("waits", "ends"), [("search", True), ("default", False), ("user", False)])
def test_a_search_settles_only_once_all_that_was_given_has_run(
    monkeypatch: pytest.MonkeyPatch, waits: str, ends: bool
) -> None:
    class Nothing:
        worth_it = False

        def __str__(self) -> str:
            return "nothing is left"

    monkeypatch.setattr(ending, "expected_gain", lambda problem, trials, untrained: Nothing())
    study = study_of(trial(0.5), trial(None, origin=waits), stop_when_settled=True)
    found = ending.look(study, SPACE)
    assert found == (Ending("settled", "nothing is left", 20) if ends else None)


@pytest.mark.parametrize(
    ("kept", "asked", "stays"),
    [
        ("settled", {"stop_when_settled": True, "trials": 20}, True),
        ("settled", {"stop_when_settled": True, "trials": 21}, False),
        ("settled", {"trials": 20}, False),
        ("target", {"target_loss": 0.1, "trials": 20}, False),
    ],
)
def test_an_ending_is_forgotten_where_more_is_asked_for(
    kept: str, asked: dict[str, object], stays: bool
) -> None:
    study = study_of(trial(0.5))
    study.set_user_attr(ENDING, {"kind": kept, "because": "it was so", "total": 20})
    ending.reopen(study, SearchSpec.model_validate(asked))
    assert (ending.ending_of(study) is not None) is stays


def test_trials_that_were_begun_are_counted_up_to_the_last_one_and_kept_open() -> None:
    put_back = create_trial(
        state=TrialState.WAITING, params={"strategy": "lora"},
        distributions={"strategy": KNOWN["strategy"]},
    )  # fmt: skip
    study = study_of(trial(0.4), put_back, trial(None), target_loss=0.5)
    assert ending.begun(study.get_trials()) == 2
    ending.look(study, SPACE)
    assert study.user_attrs[TOTAL] == 2
    assert ending.begun([]) == 0
