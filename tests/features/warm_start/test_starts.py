from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from configs import config_of
from curve_backend import LORA, candidate, make_plan, make_spec
from spaces import costs, report

from sweeper import cache
from sweeper.features.warm_start.options import Options
from sweeper.features.warm_start.starts import StudyRecord, propose, remember, similarity
from sweeper.plans import Parameter, Plan, ProposedTrial
from sweeper.runfolder import RunFolder
from sweeper.search.alone import Space, StopCondition, StrategySpace, TrialBudget, search
from sweeper.search.cost_model.trial_costs import TrialCosts
from sweeper.search.sampler import SweeperSampler
from sweeper.trials import Measure, TrialResult

RATE = Parameter(
    kind="float", log=True, low=1e-4, high=3e-4, allowed_low=1e-5, allowed_high=1e-2,
    default=2e-4, source="test",
)  # fmt: skip
RANK = Parameter(
    kind="int", log=True, low=8, high=64, allowed_low=1, allowed_high=256, default=16, source="test"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_trial(run: RunFolder, plan: Plan, number: int, key: str, loss: float, **changed) -> None:
    one = plan.keyed[key]
    parameters = {**one.defaults(), **changed}
    origin = "search" if changed else "default"
    config = config_of(plan, one, parameters, number=number, attempt=1, origin=origin)
    config.write(run.trial(number) / "config.json")
    lost = Measure(title="lost", unit="nats/token", value=2.0 + loss, base=2.0)
    result = TrialResult(
        number=number, attempt=1, seed=0, state="COMPLETE", validation_loss=loss,
        measures={"general.text": lost},
    )  # fmt: skip
    result.write(run.trial(number) / "result.json")


def remembered(
    run: RunFolder, plan: Plan, ended_at: str, limit: float | None = None
) -> Path | None:
    """The file that a study leaves, if it leaves any."""
    spec = make_spec(features={"forgetting": {"max_points": limit}})
    remember(run, spec, plan, ended_at)
    return max((cache.home() / "studies").glob("*.json"), key=os.path.getmtime, default=None)


def proposals(plan: Plan, told: list[str] | None = None) -> list[ProposedTrial]:
    """What is proposed where warm starts are asked for."""
    spec = make_spec(features={"warm_start": {"enabled": True}})
    return list(propose(spec, plan, [].append if told is None else told.append))


def study(root: Path, name: str, rate: float, ended_at: str = "2030-01-01T00:00:00Z", **facts):
    """A finished study whose best LoRA trial had this rate."""
    plan, run = like(**facts), RunFolder(root / name)
    write_trial(run, plan, 0, "lora", 0.5)
    write_trial(run, plan, 1, "lora", 0.4, learning_rate=rate)
    write_trial(run, plan, 2, "full", 0.6)
    return remembered(run, plan, ended_at)


def like(rows: int = 200, model_type: str = "bert", parameters: int = 1000, kind: str = "encoder"):
    plan = make_plan()
    model = plan.facts.models[0].model_copy(
        update={"model_type": model_type, "parameters": parameters, "kind": kind}
    )
    data = plan.facts.data.model_copy(update={"train_rows": rows})
    facts = plan.facts.model_copy(update={"models": (model,), "data": data})
    return plan.model_copy(update={"facts": facts})


def test_a_study_leaves_its_bests_and_no_trace_of_its_data(tmp_path: Path) -> None:
    path = study(tmp_path, "first", 1e-3)
    assert path is not None
    kept = StudyRecord.read(path)
    assert [best.strategy for best in kept.bests] == ["lora", "full"]
    lora = kept.bests[0]
    assert (lora.cost, lora.default_cost) == (0.4, 0.5)
    assert lora.parameters["learning_rate"] == 1e-3
    assert "lora_dropout" not in lora.parameters  # it was not searched
    assert str(tmp_path) not in path.read_text()


def test_the_same_study_is_kept_once_and_one_without_completed_trials_not_at_all(
    tmp_path: Path, home: Path
) -> None:
    assert study(tmp_path, "first", 1e-3) == study(tmp_path, "first", 2e-3)
    assert len(list((home / "studies").iterdir())) == 1
    before = list((home / "studies").iterdir())
    remember(RunFolder(tmp_path / "none"), make_spec(), make_plan(), "")
    assert list((home / "studies").iterdir()) == before


def test_what_forgot_too_much_is_no_example(tmp_path: Path) -> None:
    run, plan = RunFolder(tmp_path / "run"), make_plan()
    write_trial(run, plan, 0, "lora", 0.6)
    assert remembered(run, plan, "", limit=55.0) is None
    assert remembered(run, plan, "", limit=65.0) is not None


@pytest.mark.parametrize(
    ("facts", "alike"),
    [
        ({}, 1.0),
        ({"rows": 2000}, 0.5),
        ({"rows": 20}, 0.5),
        ({"parameters": 10_000}, 0.5),
        ({"model_type": "roberta"}, 0.5),
        ({"rows": 2000, "parameters": 10_000}, 0.25),
        ({"kind": "decoder"}, 0.0),
    ],
)
def test_studies_are_as_alike_as_their_facts(tmp_path: Path, facts, alike: float) -> None:
    path = study(tmp_path, "first", 1e-3, **facts)
    assert path is not None
    kept, plan = StudyRecord.read(path), make_plan()
    found = similarity(plan.facts, plan.facts.models[0], kept, kept.bests[0].model)
    assert found == pytest.approx(alike)


def test_the_most_similar_study_is_taken_and_the_newest_of_equals(tmp_path: Path) -> None:
    study(tmp_path, "far", 1e-4, "2031-01-01T00:00:00Z", rows=2000)
    study(tmp_path, "old", 2e-4, "2029-01-01T00:00:00Z")
    study(tmp_path, "new", 3e-4, "2030-01-01T00:00:00Z")
    proposed = {trial.strategy: trial for trial in proposals(make_plan())}
    assert set(proposed) == {"lora", "full"}
    lora = proposed["lora"]
    assert lora.record == {"study": "new", "similarity": 1.0}
    assert lora.parameters["learning_rate"] == 3e-4
    assert lora.weight == 1.0
    assert "0.4 (its default 0.5)" in lora.text


def test_nothing_is_proposed_unasked(tmp_path: Path) -> None:
    study(tmp_path, "new", 3e-4)
    assert not make_spec().features.of(Options).enabled
    assert list(propose(make_spec(), make_plan(), print)) == []


def test_nothing_is_taken_of_what_is_too_far_or_cannot_be_read(tmp_path: Path, home: Path) -> None:
    told: list[str] = []
    assert proposals(make_plan(), told) == []
    assert len(told) == 1
    study(tmp_path, "far", 1e-3, rows=2_000_000)
    (home / "studies" / "broken.json").write_text("{")
    (home / "studies" / "newer.json").write_text('{"schema_version": 99}')
    assert proposals(make_plan()) == []


def test_values_that_the_plan_does_not_allow_are_left_out(tmp_path: Path) -> None:
    study(tmp_path, "first", 1e-3)
    narrow = {**LORA, "learning_rate": RATE.model_copy(update={"allowed_high": 5e-4})}
    plan = make_plan().model_copy(update={"candidates": (candidate("lora", narrow),)})
    (warm,) = proposals(plan)
    assert "learning_rate" not in warm.parameters
    assert warm.parameters["r"] == 16
    assert "without learning_rate" in warm.text


def bowl(optimum: float):
    def objective(strategy, parameters):
        away = math.log10(parameters["learning_rate"] / optimum)
        end = 0.3 + 0.2 * away**2 + 0.01 * math.log10(parameters["r"] / 16) ** 2
        for rung in range(1, 9):
            yield report(rung, end + (1 - end) * math.exp(-rung / 2), 2.0 * rung)
        return end

    return objective


def hinted(rate: float, seed: int = 0) -> Space:
    warm = ProposedTrial(
        feature="test", strategy="lora", model="", parameters={"learning_rate": rate, "r": 32}
    )
    parameters = {"learning_rate": RATE, "r": RANK}
    lora = StrategySpace(strategy="lora", parameters=parameters)
    budget = TrialBudget(rungs=8, first_rung=2)
    return Space(candidates=[lora], budget=budget, seed=seed, proposed=[warm])


def test_the_first_draw_after_the_default_is_what_the_earlier_study_found() -> None:
    searched = search(hinted(5e-3), bowl(5e-3), StopCondition(trials=3))
    assert searched.trials[0].config.parameters == {"learning_rate": 2e-4, "r": 16}
    assert searched.trials[1].config.parameters == {"learning_rate": 5e-3, "r": 32}
    assert searched.trials[2].config.parameters != searched.trials[1].config.parameters
    assert searched.best is searched.trials[1] or searched.best is searched.trials[2]


def test_a_hint_that_is_the_default_is_not_trained_twice() -> None:
    space_ = hinted(2e-4)
    same = space_.proposed[0].model_copy(update={"parameters": {"learning_rate": 2e-4, "r": 16}})
    twice = space_.model_copy(update={"proposed": (same,)})
    searched = search(twice, bowl(1e-3), StopCondition(trials=3))
    assert searched.trials[1].config.parameters != searched.trials[0].config.parameters


@pytest.mark.parametrize(
    ("loss", "failed", "believed"),
    [(0.4, False, True), (0.6, False, False), (None, True, False), (None, False, True)],
    ids=["better than the default", "worse", "failed", "not ended yet"],
)
def test_an_earlier_study_is_believed_until_its_best_is_worse_than_the_default(
    loss: float | None, failed: bool, believed: bool
) -> None:
    def seen(number: int, rate: float, rank: int, loss: float | None, **fields) -> TrialCosts:
        parameters = {"learning_rate": rate, "r": rank}
        return costs(loss, number=number, parameters=parameters, **fields)

    default = seen(0, 2e-4, 16, 0.5, origin="default")
    state = "FAIL" if failed else "PRUNED" if loss is None else "COMPLETE"
    tried = seen(1, 5e-3, 32, loss, state=state)
    sampler = SweeperSampler(hinted(5e-3))
    assert (sampler._earlier_prior("lora", [default, tried]) is not None) is believed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wrong", [1e-5, 1e-2])
def test_a_misleading_study_costs_little(wrong: float, seed: int) -> None:
    searched = search(hinted(wrong, seed), bowl(1e-3), StopCondition(trials=14))
    assert searched.best is not None
    assert searched.best.result.validation_loss == pytest.approx(0.3, abs=0.012)
