"""The command's loop over workers that play what is written here."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from curve_backend import make_plan
from fake_pool import (
    Dies,
    FakePool,
    Part,
    Sweep,
    dies,
    does_well,
    ends_without_result,
    folder,
    is_silent,
    make_sweep,
    reports,
    result_of,
    saves_and_stops,
    starts_anew,
    write_result,
)

from sweeper.errors import NoTrialCompleted, Problem, RunError, SpecError
from sweeper.execution import coordinator, owner
from sweeper.execution.job import Hello, Job, JobEnded, ProgressMessage, Ready
from sweeper.execution.pools.pool import log_of
from sweeper.execution.state import attempts
from sweeper.execution.state.attempts import attempt_folder
from sweeper.execution.state.status import Status
from sweeper.execution.worker_states import STRIKES_ALLOWED, WorkerStates
from sweeper.facts.machine.hardware import Device
from sweeper.objective import Objective
from sweeper.runfolder import RUNGS, RunFolder
from sweeper.trials import RungReport, TestSeal, TrialConfig


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return make_sweep(tmp_path, monkeypatch)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return make_sweep(tmp_path, monkeypatch, size=2)


def test_a_whole_run_hands_out_everything_once_and_ends(sweep: Sweep) -> None:
    assert sweep.go(3).kind == "complete"
    names = [f"{job.kind} {job.name}" for job in sweep.pool.jobs]
    assert names[:4] == ["baselines baselines", "trial trial-0", "trial trial-1", "trial trial-2"]
    assert len(names) == len(set(names))
    assert {"test majority", "test tfidf"} < set(names[4:])
    assert sweep.pool.closed
    status = Status.read(sweep.run.status)
    assert (status.phase, status.done, status.process) == ("complete", 3, None)
    assert all(trial.state.is_finished() for trial in sweep.stored)
    assert TestSeal.read(sweep.run.test_seal).complete


def test_a_result_that_lies_whole_where_a_worker_died_is_taken(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1": dies(whole=True), "score-tfidf": dies_after_the_score}
    sweep.go(2)
    assert sweep.made("trials/1") == sweep.made("jobs/tfidf") == [1]
    assert sweep.result(1).state == "COMPLETE"
    assert "tfidf" in [score.name for score in TestSeal.read(sweep.run.test_seal).scores]


def dies_after_the_score(run: RunFolder, job: Job) -> Part:
    yield from (said for said in does_well(run, job) if not isinstance(said, JobEnded))
    yield Dies()


def test_a_crash_is_tried_again_and_the_third_one_ends_the_trial_but_not_the_run(
    sweep: Sweep,
) -> None:
    sweep.pool.parts = {"trial-0/1": dies(2), "trial-1": dies(3)}
    assert sweep.go(3).kind == "complete"
    assert sweep.made("trials/0") == [1, 2]
    assert sweep.made("trials/1") == [1, 2, 3]
    assert sweep.ends("trials/1") == [("crash", "worker 0 was killed by SIGKILL")] * 3
    result = sweep.result(1)
    assert (result.number, result.state, result.attempt) == (1, "FAIL", 3)
    assert result.failure is not None
    assert result.failure.kind == "crash"
    assert [trial.state.name for trial in sweep.stored] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert sweep.said("trial-put-back") == ["worker 0 was killed by SIGKILL"] * 3


def hangs(run: RunFolder, job: Job) -> Part:
    """As a watchdog ends its own process."""
    attempts.note_end(folder(run, job), "hang", "training made no step within 4 s")
    yield Dies(70)


@pytest.mark.parametrize(
    ("part", "kind", "failure"),
    [
        (ends_without_result("error", "ValueError: x"), "error", "error"),
        (hangs, "hang", "timeout"),
        (dies(status=1), "crash", "crash"),
        (dies(status=0), "crash", "crash"),  # it left in the middle of its job, unasked
    ],
)
def test_what_ended_the_third_attempt_is_what_the_trial_failed_of(
    sweep: Sweep, part, kind: str, failure: str
) -> None:
    sweep.pool.parts = {"trial-1": part}
    sweep.go(2)
    assert [end for end, _ in sweep.ends("trials/1")] == [kind] * 3
    found = sweep.result(1).failure
    assert found is not None
    assert found.kind == failure


def test_what_the_users_code_refuses_is_tried_once_a_call_and_its_worker_goes_on(
    sweep: Sweep,
) -> None:
    sweep.pool.parts = {"baselines": ends_without_result("refused", "mine.py:3 in f1")}
    assert sweep.go(2).kind == "complete"
    assert sweep.made("jobs/baselines") == [1]
    assert sweep.said("worker-started") == [""]
    assert "baselines failed: mine.py:3 in f1" in Status.read(sweep.run.status).message
    sweep.pool.parts = {}
    sweep.go(3)
    assert sweep.made("jobs/baselines") == [1, 2]
    assert (sweep.run.baselines / "tfidf.json").is_file()


def test_an_objective_that_fails_on_the_baselines_ends_the_run(sweep: Sweep) -> None:
    objective = Objective(
        name="mine:f1", title="f1", metric="mine:f1", computed_from="classes",
        higher_is_better=True, function=True,
    )  # fmt: skip
    sweep.pool.parts = {"baselines": ends_without_result("refused", "mine.py:3 in f1")}
    with pytest.raises(SpecError, match=r"mine\.py:3 in f1"):
        sweep.go(2, make_plan(2).model_copy(update={"objective": objective}))
    assert not list(sweep.run.trials.glob("*/result.json"))


def test_a_hang_that_the_worker_wrote_down_before_it_ended_is_what_counts(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1/1": hangs}
    sweep.go(2)
    assert sweep.ends("trials/1") == [("hang", "training made no step within 4 s")]


def test_a_lost_machine_is_no_crash_however_often(sweep: Sweep) -> None:
    sweep.pool.parts = {f"trial-1/{n}": dies(1, status=None, lost=True) for n in range(1, 6)}
    assert sweep.go(2).kind == "complete"
    assert sweep.made("trials/1") == [1, 2, 3, 4, 5, 6]
    assert {kind for kind, _ in sweep.ends("trials/1")} == {"interrupted"}
    assert sweep.result(1).state == "COMPLETE"
    assert "the machine of worker 0 is gone" in sweep.said("worker-ended")


def test_a_worker_that_the_system_killed_for_memory_costs_no_crash_and_teaches(
    sweep: Sweep,
) -> None:
    def needs_less(run: RunFolder, job: Job) -> Part:
        assert job.config is not None
        if job.config.setup.micro_batch > 1 and job.config.strategy == "full":
            yield Dies(-9, out_of_memory=True)
        else:
            yield from does_well(run, job)

    sweep.pool.parts = {f"trial-{n}": needs_less for n in range(4)}
    sweep.go(4, make_plan(4, strategies="full"))
    assert [kind for kind, _ in sweep.ends("trials/0")] == ["out-of-memory"] * 3
    config = TrialConfig.read(sweep.run.trial(0) / "config.json")
    planned = TrialConfig.read(attempt_folder(sweep.run.trial(0), 1) / "config.json")
    assert (planned.setup.micro_batch, config.setup.micro_batch) == (8, 1)
    effective = planned.setup.micro_batch * planned.setup.gradient_accumulation_steps
    assert config.setup.gradient_accumulation_steps == effective
    for number in range(1, 4):
        assert sweep.made(f"trials/{number}") == [1]
        note = TrialConfig.read(sweep.run.trial(number) / "config.json").memory_note
        assert note.endswith("the system killed trial 0 because memory ran out")


def test_a_trial_that_does_not_fit_one_example_has_failed_for_want_of_memory(
    sweep: Sweep,
) -> None:
    sweep.pool.parts = {"trial-1": dies(out_of_memory=True)}
    assert sweep.go(2).kind == "complete"
    assert not attempts.crashes(sweep.run.trial(1))
    last = TrialConfig.read(sweep.run.trial(1) / "config.json")
    assert last.setup.micro_batch == last.setup.evaluation_batch == 1
    found = sweep.result(1).failure
    assert found is not None
    assert found.kind == "out-of-memory"


def test_baselines_that_the_system_kills_for_memory_end_after_three_times(sweep: Sweep) -> None:
    sweep.pool.parts = {"baselines": dies(out_of_memory=True)}
    assert sweep.go(1).kind == "complete"
    why = "the system killed worker 0 because memory ran out"
    assert sweep.ends("jobs/baselines") == [("crash", why)] * 3


def test_baselines_confirmations_and_scores_end_after_three_crashes_too(sweep: Sweep) -> None:
    sweep.pool.parts = {"baselines": dies(), "score-trial-0": dies()}
    assert sweep.go(1).kind == "complete"
    assert sweep.made("jobs/baselines") == sweep.made("jobs/trial-0") == [1, 2, 3]
    said = sweep.said("warning")
    assert said[0] == "baselines failed: worker 0 was killed by SIGKILL"
    assert "the score of trial-0 failed: worker 0 was killed by SIGKILL" in said
    assert TestSeal.read(sweep.run.test_seal).scores == ()


@pytest.mark.parametrize("times", [1, 3])
def test_a_damaged_result_costs_the_attempt_and_three_of_them_the_trial(
    sweep: Sweep, times: int
) -> None:
    def damaged(run: RunFolder, job: Job) -> Part:
        (folder(run, job) / attempts.RESULT).write_text('{"number": ')
        yield JobEnded()

    sweep.pool.parts = {f"trial-1/{attempt}": damaged for attempt in range(1, times + 1)}
    sweep.go(2)
    assert sweep.ends("trials/1") == [("damaged", "result.json is damaged")] * times
    assert sweep.result(1).state == ("COMPLETE" if times == 1 else "FAIL")


def test_the_rungs_of_an_attempt_that_broke_off_count_neither_in_search_nor_in_state(
    sweep: Sweep,
) -> None:
    def lies(run: RunFolder, job: Job) -> Part:
        for report in reports(job, 5):
            yield report.model_copy(update={"validation_loss": 99.0})
        yield Dies()

    seen: list[Status] = []
    sweep.pool.parts = {"trial-1/1": lies}
    sweep.pool.on_poll = lambda: seen.append(Status.read(sweep.run.status))
    sweep.go(4, make_plan(4, strategies="lora"))
    for trial in sweep.stored:
        assert all(loss < 3 for loss in trial.intermediate_values.values() if loss == loss)
    for number in range(4):
        rungs = RungReport.read_lines(sweep.run.trial(number) / RUNGS)
        assert {report.attempt for report in rungs} == {sweep.result(number).attempt}
    medians = [one.median_here for status in seen for one in status.running if one.trial != 1]
    assert all(median is None or median < 3 for median in medians)


@pytest.mark.parametrize("again", [does_well, starts_anew])
def test_a_trial_goes_on_from_its_checkpoint_and_counts_each_rung_once(sweep: Sweep, again) -> None:
    sweep.pool.parts = {"trial-0/1": saves_and_stops(3), "trial-0/2": again}
    sweep.go(1)
    job = next(job for job in sweep.pool.jobs if (job.name, job.attempt) == ("trial-0", 2))
    assert job.checkpoint == "trials/0/attempts/1/checkpoint-3"
    for home in (sweep.run.trial(0), attempt_folder(sweep.run.trial(0), 2)):
        rungs = RungReport.read_lines(home / RUNGS)
        assert [(one.rung, one.attempt) for one in rungs] == [(n, 2) for n in range(1, 9)]
    (trial,) = sweep.stored
    assert trial.intermediate_values == {one.rung: one.validation_loss for one in rungs}
    reported = [event.rung for event in sweep.events if event.kind == "rung"][3:]
    assert reported == list(range(4 if again is does_well else 1, 9))
    assert not (attempt_folder(sweep.run.trial(0), 1) / "checkpoint-3").exists()


def test_a_crash_takes_the_checkpoint_with_it(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-0/1": saves_and_stops(3), "trial-0/2": dies(4)}
    sweep.go(1)
    third = next(job for job in sweep.pool.jobs if (job.name, job.attempt) == ("trial-0", 3))
    assert third.checkpoint is None
    assert [one.rung for one in RungReport.read_lines(sweep.run.trial(0) / RUNGS)] == list(
        range(1, 9)
    )


def test_an_attempt_number_is_never_used_again(sweep: Sweep) -> None:
    (attempt_folder(sweep.run.trial(0), 4)).mkdir(parents=True)
    sweep.go(1)
    assert sweep.result(0).attempt == 5


def test_what_an_abandoned_attempt_still_writes_is_ignored(two: Sweep) -> None:
    late: list[Job] = []

    def lost(run: RunFolder, job: Job) -> Part:
        late.append(job)
        yield Dies(None, lost=True)

    def meanwhile(run: RunFolder, job: Job) -> Part:
        write_result(run, late[0], validation_loss=0.001)
        yield from does_well(run, job)

    two.pool.parts = {"trial-0/1": lost, "trial-0/2": meanwhile}
    two.go(2)
    assert (two.result(0).attempt, two.result(0).validation_loss == 0.001) == (2, False)
    assert (attempt_folder(two.run.trial(0), 1) / attempts.RESULT).exists()
    two.go(2)
    assert two.result(0).attempt == 2


def test_a_silent_worker_is_ended_and_its_trial_goes_on(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    sweep.pool.parts = {"trial-0/1": is_silent(2)}
    sweep.pool.on_poll = lambda: now.__setitem__(0, now[0] + 2.0)

    states = WorkerStates(silence_limit=7.0, clock=lambda: now[0])
    monkeypatch.setattr(coordinator, "Owner", functools.partial(owner.Owner, workers=states))
    sweep.go(1)
    assert sweep.ends("trials/0") == [("crash", "its worker sent no message for 7 s")]
    assert sweep.result(0).attempt == 2


def test_workers_that_never_come_to_a_job_end_the_run_with_their_last_words(
    sweep: Sweep,
) -> None:
    class Stillborn(FakePool):
        def _next(self, worker: object) -> Dies:
            return Dies(1)

    sweep.pool = Stillborn(sweep.run)
    log_of(sweep.run, "0").parent.mkdir(parents=True, exist_ok=True)
    log_of(sweep.run, "0").write_text("no module named torch\n")
    with pytest.raises(NoTrialCompleted, match="no module named torch"):
        sweep.go(2)
    status = Status.read(sweep.run.status)
    assert (status.phase, status.process, status.running) == ("failed", None, ())


def test_so_do_workers_that_die_in_every_trial(sweep: Sweep) -> None:
    sweep.pool.parts = {f"trial-{n}": dies() for n in range(1, 9)}
    with pytest.raises(RunError):
        sweep.go(9)
    assert STRIKES_ALLOWED == 9
    assert Status.read(sweep.run.status).failed == 3


def test_a_worker_that_cannot_see_the_run_ends_it_with_what_to_do(sweep: Sweep) -> None:
    problem = Problem("the run's folder cannot be seen from there", "why", "Share it.", "/x")
    sweep.pool.hello = Hello(host="there", process=1, problems=(problem,))
    with pytest.raises(RunError) as caught:
        sweep.go(1)
    assert caught.value.problems == (problem,)


def test_a_worker_on_another_device_than_the_plans_ends_the_run_before_any_job(
    sweep: Sweep,
) -> None:
    device = Device(kind="cuda", name="A100", torch="2.13.0", total_gib=80.0, capability=8.0)
    sweep.pool.ready = Ready(device=device)  # the plan is for a CPU
    with pytest.raises(RunError, match="A100"):
        sweep.go(1)
    assert sweep.pool.jobs == []


def test_a_job_that_was_interrupted_by_somebody_else_goes_on(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-0/1": ends_without_result("interrupted", "TERM", after=3)}
    sweep.go(1)
    assert sweep.ends("trials/0") == [("interrupted", "TERM")]
    assert sweep.result(0).state == "COMPLETE"


def test_the_time_limit_stops_workers_and_the_next_call_goes_on(
    two: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[owner.Owner] = []
    monkeypatch.setattr(
        coordinator, "Owner", lambda **how: owners.append(owner.Owner(**how)) or owners[-1]
    )
    two.pool.parts = {"trial-2/1": is_silent(2), "trial-3/1": is_silent(1)}

    def let_the_time_be_over() -> None:
        if {"trial-2", "trial-3"} <= {job.name for job in two.pool.jobs}:
            two.pool.on_poll = lambda: None
            owners[0].deadline = 0.0

    two.pool.on_poll = let_the_time_be_over
    assert two.go(4, timeout_seconds=1000.0).kind == "timeout"
    assert two.ends("trials/2") == [("interrupted", "told to stop")]
    status = Status.read(two.run.status)
    assert (status.phase, status.running, status.process) == ("timeout", (), None)
    assert {trial.state.name for trial in two.stored[2:]} == {"WAITING"}
    before = {number: two.result(number) for number in (0, 1)}
    assert two.go(4).kind == "complete"
    assert two.made("trials/2") == two.made("trials/3") == [1, 2]
    assert {number: two.result(number) for number in (0, 1)} == before


def test_a_full_disk_puts_the_trial_back_and_ends_the_run_with_what_to_do(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1/1": ends_without_result("disk-full", "OSError: no space")}
    with pytest.raises(RunError):
        sweep.go(2)
    assert sweep.ends("trials/1") == [("disk-full", "OSError: no space")]
    assert Status.read(sweep.run.status).phase == "failed"
    sweep.go(2)
    assert sweep.result(1).attempt == 2
    assert not attempts.crashes(sweep.run.trial(1))


def test_a_warning_that_is_repeated_is_told_once(sweep: Sweep) -> None:
    sweep.pool.said = ["a GPU fell off", "a GPU fell off"]
    outcome = sweep.go(1)
    assert sweep.said("warning") == ["a GPU fell off"]
    assert outcome.status.message == "a GPU fell off"


def test_work_without_rungs_shows_how_far_it_is(sweep: Sweep) -> None:
    doing: list[tuple[str, int, int]] = []

    def slow(run: RunFolder, job: Job) -> Part:
        yield ProgressMessage(what="writing answers", done=3, of=9)
        yield None
        yield from does_well(run, job)

    def look() -> None:
        for one in Status.read(sweep.run.status).running if sweep.run.status.exists() else ():
            doing.append((one.text, one.done, one.of))

    sweep.pool.parts = {"score-tfidf": slow}
    sweep.pool.on_poll = look
    owner.STATUS_SECONDS, before = -1.0, owner.STATUS_SECONDS
    try:
        sweep.go(1)
    finally:
        owner.STATUS_SECONDS = before
    assert ("writing answers", 3, 9) in doing
    assert "progress" not in (sweep.run.events).read_text()


def test_a_pruned_trial_says_why_and_counts_with_its_last_loss(sweep: Sweep) -> None:
    def poor(run: RunFolder, job: Job) -> Part:
        for report in reports(job):
            worse = report.model_copy(update={"validation_loss": 9.0 + report.rung})
            answer = yield worse
            if answer.decision.value == "prune":
                assert answer.because
                pruned = result_of(job, "PRUNED", report.rung, pruned_because=answer.because)
                pruned.write(folder(run, job) / attempts.RESULT)
                yield JobEnded()

    sweep.pool.parts = {"trial-9": poor}
    sweep.go(10, make_plan(10, strategies="lora"))
    result = sweep.result(9)
    assert result.state == "PRUNED"
    assert sweep.stored[9].value == 9.0 + result.pruned_at_rung
