"""One worker's jobs, with the test as the command and a backend that does what it is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from configs import config_of
from curve_backend import make_plan

from sweeper.backend import Decision, Interrupted
from sweeper.errors import SpecError
from sweeper.execution.job import (
    Job,
    JobEnded,
    Message,
    RungAnswer,
)
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import attempt_folder
from sweeper.execution.worker import session as session_module
from sweeper.execution.worker.session import MUST_BE_REPLACED, Session, TimeLimits
from sweeper.runfolder import SCORE, RunFolder
from sweeper.trials import (
    BaselineResult,
    Failure,
    RungReport,
    TestScore,
    TrialConfig,
    TrialResult,
)

PLAN = make_plan()


@dataclass
class FakeLink:
    """Hears all at once, and answers rungs from a list."""

    said: list[Message] = field(default_factory=list)
    answers: list[RungAnswer | None] = field(default_factory=list)
    stop: bool = False
    on_say: Callable[[Message], None] = lambda _message: None

    def say(self, message: Message) -> None:
        self.said.append(message)
        self.on_say(message)

    def answer(self, meanwhile: Callable[[], None]) -> RungAnswer | None:
        meanwhile()
        return self.answers.pop(0) if self.answers else RungAnswer(decision=Decision.CONTINUE)

    def stopping(self) -> bool:
        return self.stop


Trains = Callable[[TrialConfig, Path, Callable[[RungReport], Decision], Callable[[], bool]], object]


@dataclass
class FakeBackend:
    trains: Trains
    checkpoint: Path | None = None

    def baselines(self) -> Iterator[BaselineResult]:
        for name in ("majority", "tfidf"):
            yield BaselineResult(name=name, title=name)

    def train(
        self,
        config: TrialConfig,
        folder: Path,
        report: Callable[[RungReport], Decision],
        should_stop: Callable[[], bool],
        checkpoint: Path | None = None,
    ) -> object:
        self.checkpoint = checkpoint
        return self.trains(config, folder, report, should_stop)

    def score_test(self, name: str, config: object, folder: Path | None) -> TestScore:
        return TestScore(name=name, test_loss=0.5, metrics={}, items_sha256="", item_scores=(1.0,))

    def close(self) -> None:
        return None


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def a_job(run: RunFolder, **fields: object) -> Job:
    candidate = PLAN.candidate("lora")
    config = config_of(PLAN, candidate, candidate.defaults(), number=3, attempt=1, origin="search")
    job = Job(kind="trial", name="trial-3", trial=3, config=config)
    job = job.model_copy(update=fields)
    (run.path / job.folder).mkdir(parents=True)
    return job


def done(link: FakeLink, run: RunFolder, trains: Trains, **fields: object) -> tuple[bool, JobEnded]:
    """Whether the process may go on, and what was said of the end."""
    session = Session(run, PLAN, link, "w")  # type: ignore[arg-type]
    goes_on = session.do(FakeBackend(trains), a_job(run, **fields))  # type: ignore[arg-type]
    ended = link.said[-1]
    assert isinstance(ended, JobEnded)
    return goes_on, ended


def a_rung(rung: int) -> RungReport:
    return RungReport(
        number=3, attempt=1, rung=rung, validation_loss=1.0, items=1, optimizer_steps=rung,
        epochs=1, tokens=1, training_seconds=1, evaluation_seconds=1,
    )  # fmt: skip


def a_result(**fields: object) -> TrialResult:
    known = {"number": 3, "attempt": 1, "seed": 0, "state": "COMPLETE", "validation_loss": 0.5}
    return TrialResult.model_validate({**known, **fields})


def kept(run: RunFolder) -> TrialResult | None:
    return TrialResult.read_or_none(attempt_folder(run.trial(3), 1) / attempts.RESULT)


def test_a_trial_reports_each_rung_and_leaves_its_result(link: FakeLink, run: RunFolder) -> None:
    def trains(_config, _folder, report, _stop):
        assert [report(a_rung(n)) for n in (1, 2)] == [Decision.CONTINUE] * 2
        return a_result()

    assert done(link, run, trains) == (True, JobEnded())
    assert [type(one) for one in link.said] == [RungReport, RungReport, JobEnded]
    result = kept(run)
    assert result is not None
    assert result.worker == "w"
    assert result.started_at
    assert result.ended_at


def test_a_pruned_trial_keeps_the_commands_reason(link: FakeLink, run: RunFolder) -> None:
    def trains(_config, _folder, report, _stop):
        assert report(a_rung(1)) is Decision.PRUNE
        return a_result(state="PRUNED", validation_loss=None, pruned_at_rung=1)

    link.answers = [RungAnswer(decision=Decision.PRUNE, because="worse than the median")]
    done(link, run, trains)
    result = kept(run)
    assert result is not None
    assert result.pruned_because == "worse than the median"


@pytest.mark.parametrize("where", ["at a rung", "between"])
def test_a_stop_ends_the_job_as_interrupted_and_the_process_well(
    link: FakeLink, run: RunFolder, where: str
) -> None:
    def trains(_config, _folder, report, should_stop):
        if where == "at a rung":
            assert report(a_rung(1)) is Decision.STOP
        else:
            assert should_stop()
        raise Interrupted

    link.answers, link.stop = [None], True
    goes_on, ended = done(link, run, trains)
    assert goes_on
    assert ended.end == "interrupted"
    assert kept(run) is None


def test_a_backend_that_stops_unasked_has_failed(link: FakeLink, run: RunFolder) -> None:
    def trains(*_arguments):
        raise Interrupted

    goes_on, ended = done(link, run, trains)
    assert not goes_on
    assert (ended.end, ended.detail) == ("error", "the backend stopped without being told to")


def test_an_exception_is_told_with_its_last_line_and_ends_the_process(
    link: FakeLink, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    def trains(*_arguments):
        raise RuntimeError("the accelerator fell off the bus")

    goes_on, ended = done(link, run, trains)
    assert not goes_on
    assert (ended.end, ended.detail) == ("error", "RuntimeError: the accelerator fell off the bus")
    assert "Traceback" in capsys.readouterr().err


def test_an_error_of_the_users_code_is_tried_once_and_again_by_the_next_call(
    link: FakeLink, run: RunFolder
) -> None:
    def trains(*_arguments):
        raise SpecError("the objective mine:f1: KeyError: 'a' (mine.py:3 in f1)", fix="Mend it.")

    goes_on, ended = done(link, run, trains, kind="confirm", seed=1)
    assert goes_on
    assert ended.end == "refused"
    assert ended.detail == "the objective mine:f1: KeyError: 'a' (mine.py:3 in f1)"
    attempts.new_attempt(run.path / "jobs/baselines")
    attempts.note_end(run.path / "jobs/baselines/attempts/1", "refused", ended.detail)
    failure = work_items.failure(run, work_items.BASELINES)
    assert failure == Failure(kind="refused", detail=ended.detail)
    work_items.end_open_attempt(run, work_items.BASELINES)
    assert work_items.failure(run, work_items.BASELINES) is None


@pytest.mark.parametrize("how", ["raised", "returned", "while the result is written"])
def test_a_full_disk_is_no_fault_of_the_trial(
    link: FakeLink, run: RunFolder, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trains(*_arguments):
        if how == "raised":
            raise OSError(28, "No space left on device")
        if how == "returned":
            failure = Failure(kind="disk-full", detail="no space left")
            return a_result(state="FAIL", validation_loss=None, failure=failure)
        monkeypatch.setattr(TrialResult, "write", full)
        return a_result()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    goes_on, ended = done(link, run, trains)
    assert ended.end == "disk-full"
    assert not goes_on
    assert kept(run) is None


@pytest.mark.parametrize(
    ("loss", "kind"), [(None, "error"), (float("nan"), "diverged"), (float("inf"), "diverged")]
)
def test_a_completed_trial_without_a_loss_that_is_a_number_has_failed(
    link: FakeLink, run: RunFolder, loss: float | None, kind: str
) -> None:
    goes_on, ended = done(
        link, run, lambda *_: a_result().model_copy(update={"validation_loss": loss})
    )
    assert goes_on
    assert ended.end is None
    result = kept(run)
    assert result is not None
    assert (result.state, result.validation_loss) == ("FAIL", None)
    assert result.failure is not None
    assert result.failure.kind == kind


def test_baselines_are_told_one_by_one(link: FakeLink, run: RunFolder) -> None:
    _, ended = done(link, run, a_result, kind="baselines", name="baselines", config=None)
    assert ended.end is None
    said = [one.name for one in link.said if isinstance(one, BaselineResult)]
    assert said == ["majority", "tfidf"]


def test_baselines_stop_after_the_one_under_way(link: FakeLink, run: RunFolder) -> None:
    link.stop = True
    _, ended = done(link, run, a_result, kind="baselines", name="baselines", config=None)
    assert ended.end == "interrupted"
    assert len(link.said) == 2


def test_a_score_lies_in_the_attempts_folder(link: FakeLink, run: RunFolder) -> None:
    _, ended = done(link, run, a_result, kind="test", name="trial-3", weights="trials/3")
    assert ended.end is None
    folder = attempts.attempt_folder(run.path / "jobs" / "trial-3", 1)
    score = TestScore.read_or_none(folder / SCORE)
    assert score is not None
    assert score.name == "trial-3"


def test_an_attempt_that_goes_on_gets_its_checkpoint(link: FakeLink, run: RunFolder) -> None:
    backend = FakeBackend(lambda *_: a_result())
    job = a_job(run, checkpoint="trials/3/attempts/0/checkpoint-4")
    Session(run, PLAN, link, "w").do(backend, job)  # type: ignore[arg-type]
    assert backend.checkpoint == run.path / "trials/3/attempts/0/checkpoint-4"


@pytest.mark.parametrize(
    ("job", "home", "what"),
    [
        ({}, "trials/3", "training"),
        ({"kind": "test", "name": "tfidf", "config": None}, "jobs/tfidf", "scoring tfidf"),
    ],
)
def test_a_hang_is_noted_where_the_command_finds_it_and_ends_the_process(
    link: FakeLink,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    job: dict[str, object],
    home: str,
    what: str,
) -> None:
    class Ended(Exception):
        pass

    ends: list[int] = []
    monkeypatch.setattr(session_module, "dump_stacks", lambda: None)
    monkeypatch.setattr(os, "_exit", ends.append)
    monkeypatch.setattr(
        session_module, "time_limits_for", lambda *_: TimeLimits(setup=0.05, step=0.05)
    )

    def trains(*_arguments):
        while not ends:
            pass
        raise Ended

    monkeypatch.setattr(session_module, "time_limits_without_steps", session_module.time_limits_for)
    monkeypatch.setattr(FakeBackend, "score_test", trains)
    done(link, run, trains, **job)
    assert ends == [MUST_BE_REPLACED]
    end = attempts.read_end(attempts.attempt_folder(run.path / home, 1))
    assert end is not None
    assert (end.kind, end.worker) == ("hang", "w")
    assert end.detail.startswith(f"{what} did not begin within")
