from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from curve_backend import make_plan
from spaces import SPACE, report

from sweeper.errors import SpecError
from sweeper.search.alone import StopCondition, search
from sweeper.search.named import check_named, make_pruner, make_sampler
from sweeper.search.pruner import SweeperPruner
from sweeper.trials import RungReport

PLAN = make_plan()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the command is given, with imports of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    return tmp_path


def test_optunas_pruners_are_named_with_or_without_options() -> None:
    assert isinstance(make_pruner("optuna:MedianPruner", PLAN), optuna.pruners.MedianPruner)
    made = make_pruner("optuna:MedianPruner(n_startup_trials=2)", PLAN)
    assert made._n_startup_trials == 2  # type: ignore[attr-defined]
    assert isinstance(make_pruner("optuna.pruners:NopPruner", PLAN), optuna.pruners.NopPruner)


def test_our_pruner_begins_where_the_plan_says_or_as_it_is_told() -> None:
    for name, first in (("sweeper", PLAN.budget.first_rung), ("sweeper(first_rung=5)", 5)):
        made = make_pruner(name, PLAN)
        assert isinstance(made, SweeperPruner)
        assert made._first_rung == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sweeper(first_rung=0)", "the earliest rung at which a trial may be stopped"),
        ("sweeper(first_rung=99)", "from 1 to 8"),
        ("sweeper(first_rung='2')", "Write sweeper, or sweeper(first_rung=4)"),
        ("sweeper(confidence=2)", "Its only option is first_rung"),
        ("sweeper(2)", "does not name a sampler or pruner"),
        ("optuna:MedianPrunr", "Did you mean 'MedianPruner'?"),
        ("MedianPruner", "expected module:Class"),
        ("optuna:MedianPruner(1)", "expected module:Class"),
        ("optuna:MedianPruner(__import__('os'))", "expected module:Class"),
        ("optuna:MedianPruner(n_startup_trials=open('x'))", "does not name a sampler or pruner"),
        ("optuna:MedianPruner(speed=3)", "cannot create"),
        ("no_such_package:Pruner", "cannot import 'no_such_package'"),
        ("optuna:TPESampler", "has no pruner 'TPESampler'"),
    ],
)
def test_a_bad_name_is_refused_with_what_would_work(name: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_pruner(name, PLAN)
    assert text in str(caught.value)
    assert "search.pruner" in str(caught.value)


def test_a_third_party_sampler_draws_anew_for_each_trial_and_the_same_on_a_resume() -> None:
    def draw(number: int) -> float:
        sampler = make_sampler("optuna:RandomSampler", PLAN, number)
        study = optuna.create_study(sampler=sampler)
        return study.ask().suggest_float("x", 0, 1)

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_what_is_wrong_with_sampler_and_pruner_is_said_together() -> None:
    check_named("optuna:RandomSampler", "optuna:NopPruner", PLAN)
    with pytest.raises(SpecError) as caught:
        check_named("optuna:GridSampler", "optuna:MedianPrunr", PLAN)
    assert [one.where for one in caught.value.problems] == ["search.sampler", "search.pruner"]
    assert "search_space" in str(caught.value)


def test_a_module_is_found_where_the_command_was_started(here: Path) -> None:
    (here / "sampler_of_mine.py").write_text(
        "from optuna.samplers import RandomSampler\n"
        "class Mine(RandomSampler):\n    pass\n"
        "class Broken(RandomSampler):\n    def __init__(self):\n        raise KeyError('lost')\n"
    )
    (here / "broken_of_mine.py").write_text("this is no Python\n")
    check_named("sampler_of_mine:Mine", "sweeper", PLAN)
    with pytest.raises(SpecError, match=r"sampler_of_mine:Broken[\s\S]*lost"):
        check_named("sampler_of_mine:Broken", "sweeper", PLAN)
    with pytest.raises(SpecError, match="'broken_of_mine'"):
        check_named("broken_of_mine:Mine", "sweeper", PLAN)


def test_what_can_be_made_and_cannot_be_used_is_refused_too(here: Path) -> None:
    with pytest.raises(SpecError, match="BruteForceSampler"):
        check_named("optuna:BruteForceSampler", "sweeper", PLAN)
    (here / "pruner_of_mine.py").write_text(
        "from optuna.pruners import BasePruner\n"
        "class Lost(BasePruner):\n"
        "    def prune(self, study, trial):\n        raise LookupError('no way')\n"
    )
    with pytest.raises(SpecError, match=r"pruner_of_mine:Lost[\s\S]*no way"):
        check_named("sweeper", "pruner_of_mine:Lost", PLAN)


SAMPLERS = ("RandomSampler", "TPESampler", "TPESampler(multivariate=True)", "QMCSampler",
            "CmaEsSampler", "NSGAIISampler")  # fmt: skip
PRUNERS = ("NopPruner", "MedianPruner", "PercentilePruner(percentile=25.0)", "HyperbandPruner",
           "SuccessiveHalvingPruner", "WilcoxonPruner", "ThresholdPruner(upper=9.0)")  # fmt: skip


def losses(strategy: str, parameters: dict[str, object]) -> Iterator[RungReport]:
    for rung in range(1, 9):
        yield report(rung, 1.0 + float(str(parameters["learning_rate"])) / rung, 2.0 * rung)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        *((f"optuna:{name}", "sweeper") for name in SAMPLERS),
        *(("sweeper", f"optuna:{name}") for name in PRUNERS),
        ("optuna:TPESampler", "optuna:HyperbandPruner"),
    ],
)
def test_every_pair_searches_to_the_end(sampler: str, pruner: str) -> None:
    check_named(sampler, pruner, SPACE)
    found = search(SPACE, losses, StopCondition(trials=12), sampler=sampler, pruner=pruner)
    assert len(found.trials) == 12
    assert {one.config.strategy for one in found.trials} == {"lora", "full"}
    assert found.best is not None
