"""What a frozen head's loss does to a search whose trials may start from it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import optuna
import pytest
from curve_backend import make_plan
from optuna.distributions import CategoricalDistribution, FloatDistribution

from sweeper.execution.watchdog import Pulse
from sweeper.execution.work import _baselines
from sweeper.planning.plan import Parameter
from sweeper.runfolder import RunFolder
from sweeper.search import frozen, space
from sweeper.search.axis import axis_of
from sweeper.search.engine import Limit, Rung, RungCount, Searched, Space, Strategy, search
from sweeper.search.observations import Observation
from sweeper.trials import BaselineResult

STARTS = ("random", "probe")
RATE = Parameter(
    kind="float", log=True, low=3e-4, high=3e-3, allowed_low=1e-5, allowed_high=1e-2,
    default=1e-3, source="test",
)  # fmt: skip
HEAD_RATE = RATE.model_copy(update={"default": 2e-3})
START = Parameter(
    kind="categorical", choices=STARTS, allowed_choices=STARTS, default="random", source="test"
)
PARAMETERS = {"learning_rate": RATE, "head_init": START, "head_learning_rate": HEAD_RATE}
AXES = {
    name: axis_of(
        name,
        one,
        CategoricalDistribution(STARTS) if name == "head_init" else FloatDistribution(1e-5, 1e-2),
    )
    for name, one in PARAMETERS.items()
}
TUNED = Space([Strategy("lora", PARAMETERS), Strategy("full", PARAMETERS)], RungCount(8, 8))
PROBE = 0.2


def objective(strategy, parameters):
    """Whoever starts from the probe ends near it, the nearer the lower the rate; others do not."""
    rate = math.log10(parameters["learning_rate"])
    moved = 0.08 * (rate + 5) ** 2
    end = PROBE + moved if parameters["head_init"] == "probe" else 0.5 + 0.02 * (rate + 3) ** 2
    yield Rung(8, end, 1.0)
    return end


def searched(told: float | None, trials: int = 5, seed: int = 0) -> Searched:
    known = None if told is None else {"": told}
    problem = Space(TUNED.candidates, TUNED.budget, seed)
    return search(problem, objective, Limit(trials), frozen=known)


def test_it_is_a_trial_that_starts_from_the_probe_at_the_lowest_rate() -> None:
    one = frozen.as_trial("lora", AXES, {}, PROBE)
    assert one is not None
    assert one.parameters == {
        "learning_rate": pytest.approx(1e-5),
        "head_init": "probe",
        "head_learning_rate": 2e-3,
    }
    assert (one.loss, one.complete, one.number, one.seconds) == (PROBE, True, frozen.NUMBER, 0.0)


def test_who_cannot_start_from_the_probe_learns_nothing_of_it() -> None:
    assert frozen.as_trial("lora", {"learning_rate": AXES["learning_rate"]}, {}, PROBE) is None
    other = axis_of("head_init", START, CategoricalDistribution(("random", "zero")))
    assert frozen.as_trial("lora", AXES | {"head_init": other}, {}, PROBE) is None


def test_parameters_that_do_not_exist_beside_the_probe_are_left_out() -> None:
    plan = make_plan()
    known = space.distributions(plan)
    parameters = space.candidates(plan)["lora"].parameters
    axes = {
        name: axis_of(name, one, known[f"lora.{name}"])
        for name, one in parameters.items()
        if one.searched
    }
    conditioned = [name for name, one in parameters.items() if one.condition is not None]
    assert conditioned
    one = frozen.as_trial("lora", axes, {}, PROBE)
    assert one is not None
    assert not set(conditioned) & set(one.parameters)


def test_the_heads_own_trial_counts_before_what_the_baseline_said() -> None:
    candidates = space.candidates(make_plan())
    model = candidates["head"].model
    ended = Observation(0, "head", {}, 0.4, True, False, False, "default")
    running = Observation(0, "head", {}, None, False, True, False, "default")
    assert frozen.losses(candidates, [], {model: 0.5}) == {model: 0.5}
    assert frozen.losses(candidates, [running], {model: 0.5}) == {model: 0.5}
    assert frozen.losses(candidates, [ended], {model: 0.5}) == {model: 0.4}
    assert frozen.losses(candidates, [ended], {}) == {model: 0.4}


def test_a_good_probe_is_started_from_at_once_and_a_bad_one_is_not() -> None:
    for seed in range(5):
        good = searched(PROBE, seed=seed).trials[2].parameters
        assert good["head_init"] == "probe"
        assert good["learning_rate"] < 3e-4
        bad = searched(0.9, seed=seed).trials[2].parameters
        assert bad["head_init"] == "random"


def test_a_search_that_knows_the_probe_gets_further() -> None:
    losses = {
        told: [searched(told, 8, seed).best.loss for seed in range(8)] for told in (PROBE, None)
    }
    assert max(losses[PROBE]) < 0.3
    assert sum(losses[PROBE]) < sum(losses[None])


def test_defaults_come_before_anything_that_the_probe_suggests() -> None:
    first = searched(PROBE).trials[:2]
    assert [(one.strategy, one.parameters["head_init"]) for one in first] == [
        ("lora", "random"),
        ("full", "random"),
    ]


def test_the_baseline_is_kept_in_the_study_for_all_workers(tmp_path) -> None:
    study, plan = optuna.create_study(), make_plan()
    results = [
        BaselineResult(name="tfidf", title="TF-IDF", validation_loss=0.8),
        BaselineResult(name="probe", title="frozen probe", validation_loss=0.7),
    ]
    run = RunFolder(tmp_path)
    run.baselines.mkdir(parents=True)
    bench = SimpleNamespace(
        backend=SimpleNamespace(baselines=lambda: results),
        run=run,
        plan=plan,
        trials=SimpleNamespace(study=study),
        say=lambda *_, **__: None,
        should_stop=lambda: False,
    )
    _baselines(bench, Pulse())
    assert frozen.noted(study) == {plan.candidates[0].model: 0.7}
