from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from sweeper.features.tracking.listener import Follower, Tracker, parameters
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.trials import RungReport, TrialConfig, TrialResult


class Service(Tracker):
    """Keeps what it is told; ``away`` makes it refuse everything."""

    name = "service"
    place = "here"

    def __init__(self, run: RunFolder, plan: Plan, told: list[tuple[object, ...]]) -> None:
        super().__init__(run, plan)
        self.told, self.away = told, False

    @property
    def where(self) -> str:
        return self.place

    def start(self, known: str) -> str:
        self._tell("start", known)
        return known or "the-sweep"

    def trial_started(self, config: TrialConfig, known: str) -> str:
        self._tell("started", config.number, known)
        return known or f"run-{config.number}"

    def rung(self, trial_id: str, report: RungReport) -> None:
        self._tell("rung", trial_id, report.attempt, report.rung)

    def trial_ended(self, trial_id: str, config: TrialConfig, result: TrialResult) -> None:
        self._tell("ended", trial_id, result.state)

    def trial_interrupted(self, trial_id: str) -> None:
        self._tell("left", trial_id)

    def ended(
        self, sweep: str, state: str, figures: Mapping[str, float], text: str, files: Sequence[Path]
    ) -> None:
        self._tell("end", sweep, state, dict(figures), text, [path.name for path in files])

    def _tell(self, *what: object) -> None:
        if self.away:
            raise ConnectionError("no route to host")
        self.told.append(what)


@pytest.fixture
def told():
    return []


@pytest.fixture
def follow(sweep, told):
    """A follower as a new process makes it, and its tracker."""

    def make():
        service = Service(sweep.run, sweep.plan, told)
        return Follower(sweep.run, service), service

    return make


def test_a_trial_is_logged_as_it_goes_on(sweep, told, follow):
    follower, _ = follow()
    follower.catch_up()
    assert told == [("start", "")]
    sweep.starts(3)
    sweep.rung(3, 1)
    follower.catch_up()
    sweep.rung(3, 2)
    follower.catch_up()
    sweep.ends(3, "PRUNED")
    follower.catch_up()
    follower.catch_up()
    assert told[1:] == [
        ("started", 3, ""),
        ("rung", "run-3", 1, 1),
        ("rung", "run-3", 1, 2),
        ("ended", "run-3", "PRUNED"),
    ]


def test_what_a_service_missed_is_logged_once_it_answers(sweep, told, follow):
    follower, service = follow()
    sweep.starts(0)
    sweep.rung(0, 1)
    follower.catch_up()
    service.away = True
    sweep.rung(0, 2)
    sweep.ends(0)
    sweep.starts(1)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            follower.catch_up()
    service.away = False
    follower.catch_up()
    assert told[3:] == [("rung", "run-0", 1, 2), ("ended", "run-0", "COMPLETE"), ("started", 1, "")]


def test_a_resume_goes_on_in_the_same_runs_and_repeats_nothing(sweep, told, follow):
    sweep.whole()
    sweep.starts(1)
    sweep.rung(1, 1)
    follow()[0].end("interrupted")
    assert told[-2] == ("left", "run-1")
    del told[:]
    sweep.starts(1, attempt=2)
    sweep.rung(1, 1, attempt=2)
    sweep.ends(1, attempt=2)
    follow()[0].end("complete")
    assert told[:-1] == [
        ("start", "the-sweep"),
        ("started", 1, "run-1"),
        ("rung", "run-1", 2, 1),
        ("ended", "run-1", "COMPLETE"),
    ]
    assert told[-1][:3] == ("end", "the-sweep", "complete")


def test_rungs_that_a_checkpoint_carries_over_are_not_repeated(sweep, told, follow):
    sweep.starts(0)
    sweep.rung(0, 1)
    follow()[0].end("interrupted")
    del told[:]
    sweep.starts(0, attempt=2)
    sweep.rung(0, 1, attempt=1)
    sweep.rung(0, 2, attempt=2)
    follow()[0].catch_up()
    assert told == [("start", "the-sweep"), ("started", 0, "run-0"), ("rung", "run-0", 2, 2)]


def test_another_service_gets_everything(sweep, told, follow, monkeypatch):
    sweep.whole()
    follow()[0].end("complete")
    first = list(told)
    del told[:]
    monkeypatch.setattr(Service, "place", "elsewhere")
    follow()[0].end("complete")
    assert told == first


def test_the_end_has_the_figures_of_the_sweep_and_its_report(sweep, told, follow):
    sweep.whole(trials=2)
    sweep.starts(2)
    sweep.ends(2, "FAIL")
    follow()[0].end("complete")
    _, _, _, figures, text, files = told[-1]
    assert figures == {
        "trials/complete": 2,
        "trials/pruned": 0,
        "trials/fail": 1,
        "best_validation_loss": 0.25,
        "recommended_trial": 0,
        "test/accuracy": 0.5,
    }
    assert text == "Use trial 0."
    assert files == ["report.html", "report.md"]


def test_half_a_line_is_read_once_it_is_whole(sweep, told, follow):
    follower, _ = follow()
    sweep.starts(0)
    whole = sweep.run.events.read_text()
    sweep.run.events.write_text(whole[:10])
    follower.catch_up()
    assert told == [("start", "")]
    sweep.run.events.write_text(whole)
    follower.catch_up()
    assert told[1:] == [("started", 0, "")]


def test_the_path_of_a_model_is_not_logged(sweep):
    sweep.starts(0)
    config = TrialConfig.read(sweep.run.trial(0) / "config.json")
    assert config.model == "/data/models/tiny"
    assert parameters(config) == {
        "strategy": "lora", "model": "tiny", "seed": 0, "learning_rate": 1e-4, "r": 8
    }  # fmt: skip
