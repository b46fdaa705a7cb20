"""One job of the queue, from the claim to its end: baselines, a confirmation run, a test score."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path

from optuna.trial import TrialState

from sweeper.backend import Interrupted
from sweeper.execution import lessons, records
from sweeper.execution.attempt import Attempt, Breakdown, Interruption
from sweeper.execution.bench import UNSOUND, Bench, WorkerUnsound
from sweeper.execution.claims import Claim
from sweeper.execution.disk import NoRoom, no_room
from sweeper.execution.endings import note_end
from sweeper.execution.heartbeat import Heartbeat
from sweeper.execution.jobs import ERROR, Job, attempt_folder, score_file
from sweeper.execution.repair import readable
from sweeper.execution.settle import CRASHES_ALLOWED
from sweeper.execution.watchdog import Pulse, Watchdog, patience_for_jobs, show_where
from sweeper.search import untrained
from sweeper.trials import BaselineResult, TrialConfig


def run_job(bench: Bench, claim: Claim) -> None:
    """Do a claimed job and take it off the queue.

    Raises:
        WorkerUnsound: It raised; the job is settled, but this process should end.
        NoRoom: The disk is full; the job waits again.
    """
    job = Job.of(bench.jobs.trial(claim.number))
    bench.say("job-started", job=job.name, trial=job.trial, attempt=claim.lease.attempt)
    try:
        do = _confirm if job.kind == "confirm" else _score
        problem = do(bench, claim, job)
    except NoRoom:
        claim.put_back(crashed=False)
        raise
    except Interrupted:
        claim.put_back(crashed=False)
        bench.say("job-put-back", job=job.name, trial=job.trial)
        return
    if problem is None:
        claim.finish(TrialState.COMPLETE, 0.0)
        bench.say("job-ended", job=job.name, trial=job.trial, state="COMPLETE")
        return
    _broke_down(bench, claim, job, problem)


def _score(bench: Bench, claim: Claim, job: Job) -> str | None:
    folder, pulse = attempt_folder(bench.run, job, claim.lease.attempt), Pulse()

    def hangs(why: str) -> None:
        with contextlib.suppress(OSError):  # whatever the disk is like, this process must end
            note_end(folder, "hang", why, worker=bench.owner)
        show_where()
        os._exit(UNSOUND)

    limits = patience_for_jobs(bench.plan)
    try:
        with Heartbeat(claim), Watchdog(pulse, limits, hangs, what=f"scoring {job.name}"):
            if job.kind == "baselines":
                _baselines(bench, pulse)
            else:
                _test(bench, job, folder)
    except Exception as error:
        traceback.print_exc()
        if no_room(error):
            raise NoRoom(str(error)) from error
        return traceback.format_exception_only(error)[-1].strip()
    return None


def _baselines(bench: Bench, pulse: Pulse) -> None:
    for result in bench.backend.baselines():
        pulse.beat()
        # With a first stage, trials do not begin as the base model is.
        if result.validation_loss is not None and bench.plan.facts.data.corpus is None:
            model = bench.plan.candidates[0].model
            known = untrained.of_baseline(result.name, model, result.validation_loss)
            untrained.note(bench.trials.study, known)
        path = bench.run.baselines / f"{result.name}.json"
        if readable(BaselineResult, path) is None:  # one that is there may hold test figures too
            result.write(path)
            bench.say(
                "baseline",
                job=result.name,
                validation_loss=result.validation_loss,
                seconds=result.seconds,
                text=result.title,
            )
        if bench.should_stop():
            raise Interrupted


def _test(bench: Bench, job: Job, attempt: Path) -> None:
    config = folder = None
    if job.trial is not None:
        folder = (
            bench.run.trial(job.trial) if job.seed is None else bench.run.seed(job.trial, job.seed)
        )
        config = _fitting(bench, TrialConfig.read(folder / records.CONFIG))
        config.write(attempt / records.CONFIG)
    score = bench.backend.score_test(job.name, config, folder)
    records.write_score(score_file(bench.run, job), score)


def _confirm(bench: Bench, claim: Claim, job: Job) -> str | None:
    assert job.trial is not None
    assert job.seed is not None
    config = TrialConfig.read(bench.run.trial(job.trial) / records.CONFIG).model_copy(
        update={"seed": job.seed, "attempt": claim.lease.attempt, "keep_weights": True}
    )
    config = _fitting(bench, config)
    target = bench.run.seed(job.trial, job.seed)
    outcome = Attempt(bench, claim, config, target, job=job.name, prunes=False).run()
    if isinstance(outcome, Interruption):
        raise Interrupted
    return outcome.detail if isinstance(outcome, Breakdown) else None


def _fitting(bench: Bench, config: TrialConfig) -> TrialConfig:
    return lessons.apply(config, [*bench.trials.trials(), *bench.jobs.trials()])


def _broke_down(bench: Bench, claim: Claim, job: Job, detail: str) -> None:
    if claim.lease.crashes + 1 < CRASHES_ALLOWED:
        claim.put_back(crashed=True)
        bench.say("job-put-back", job=job.name, trial=job.trial, text=detail)
    else:
        bench.jobs.storage.optuna.set_trial_user_attr(claim.trial_id, ERROR, detail)
        claim.finish(TrialState.FAIL, None)
        bench.say("job-ended", job=job.name, trial=job.trial, state="FAIL", text=detail)
    raise WorkerUnsound(detail)
