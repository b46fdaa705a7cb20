"""One job of the queue, from the claim to its end: baselines, a confirmation run, a test score."""

from __future__ import annotations

import traceback

from optuna.trial import TrialState

from sweeper.backend import Interrupted
from sweeper.execution import lessons, records
from sweeper.execution.attempt import Attempt, Breakdown, Interruption
from sweeper.execution.bench import Bench, WorkerUnsound
from sweeper.execution.claims import Claim
from sweeper.execution.disk import NoRoom, no_room
from sweeper.execution.heartbeat import Heartbeat
from sweeper.execution.jobs import ERROR, Job, score_file
from sweeper.execution.settle import CRASHES_ALLOWED
from sweeper.trials import TrialConfig


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
    try:
        with Heartbeat(claim):
            _baselines(bench) if job.kind == "baselines" else _test(bench, job)
    except Exception as error:
        traceback.print_exc()
        if no_room(error):
            raise NoRoom(str(error)) from error
        return traceback.format_exception_only(error)[-1].strip()
    return None


def _baselines(bench: Bench) -> None:
    for result in bench.backend.baselines():
        result.write(bench.run.baselines / f"{result.name}.json")
        bench.say(
            "baseline",
            job=result.name,
            validation_loss=result.validation_loss,
            seconds=result.seconds,
            text=result.title,
        )
        if bench.should_stop():
            raise Interrupted


def _test(bench: Bench, job: Job) -> None:
    config = folder = None
    if job.trial is not None:
        folder = (
            bench.run.trial(job.trial) if job.seed is None else bench.run.seed(job.trial, job.seed)
        )
        config = TrialConfig.read(folder / records.CONFIG)
    score = bench.backend.score_test(job.name, config, folder)
    records.write_score(score_file(bench.run, job), score)


def _confirm(bench: Bench, claim: Claim, job: Job) -> str | None:
    assert job.trial is not None
    assert job.seed is not None
    config = TrialConfig.read(bench.run.trial(job.trial) / records.CONFIG).model_copy(
        update={"seed": job.seed, "attempt": claim.lease.attempt, "keep_weights": True}
    )
    config = lessons.apply(config, bench.trials.trials())
    target = bench.run.seed(job.trial, job.seed)
    outcome = Attempt(bench, claim, config, target, job=job.name, prunes=False).run()
    if isinstance(outcome, Interruption):
        raise Interrupted
    return outcome.detail if isinstance(outcome, Breakdown) else None


def _broke_down(bench: Bench, claim: Claim, job: Job, detail: str) -> None:
    if claim.lease.crashes + 1 < CRASHES_ALLOWED:
        claim.put_back(crashed=True)
        bench.say("job-put-back", job=job.name, trial=job.trial, text=detail)
    else:
        bench.jobs.storage.optuna.set_trial_user_attr(claim.trial_id, ERROR, detail)
        claim.finish(TrialState.FAIL, None)
        bench.say("job-ended", job=job.name, trial=job.trial, state="FAIL", text=detail)
    raise WorkerUnsound(detail)
