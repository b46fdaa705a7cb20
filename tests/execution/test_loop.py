from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from curve_backend import make_plan
from optuna.trial import TrialState

from sweeper.execution.claims import Queue, lease_of
from sweeper.execution.events import Event
from sweeper.execution.interruption import Signals
from sweeper.execution.jobqueue import JobQueue
from sweeper.execution.jobs import Job
from sweeper.execution.ledger import Ledger
from sweeper.execution.lessons import FITTED
from sweeper.execution.loop import Loop
from sweeper.execution.owner import owner_of
from sweeper.execution.pool import Ended, Process
from sweeper.execution.progress import Progress
from sweeper.execution.records import begin_attempt
from sweeper.runfolder import RunFolder
from sweeper.search.configure import configure
from sweeper.search.storage import open_storage
from sweeper.search.study import create_study


class Cluster:
    """Workers on machines of which nothing is known but what they say."""

    backend, stopping = "m:f", False

    def __init__(self) -> None:
        self.said: list[Event | Ended] = []
        self.processes: list[Process] = []

    def start(self) -> None: ...
    def ask_to_stop(self) -> None: ...
    def kill(self) -> None: ...
    def broken(self) -> bool:
        return False

    def last_words(self, name: str, lines: int = 5) -> str:
        return ""

    def poll(self, seconds: float) -> Iterator[Event | Ended]:
        said, self.said = self.said, []
        yield from said


def loop_over(folder: Path) -> tuple[Loop, Cluster, list[Event]]:
    run, cluster, heard = RunFolder(folder), Cluster(), list[Event]()
    storage = open_storage(f"journal:{folder}/study.log")
    queue, jobs = (Queue(storage, create_study(storage, name)) for name in ("s", "s/jobs"))
    ledger = Ledger(run)
    made = Loop(
        run=run,
        queue=queue,
        jobs=JobQueue(run, jobs),
        pool=cluster,
        ledger=ledger,
        progress=Progress(ledger, 1, "t", plan=make_plan()),
        signals=Signals(),
        on_event=lambda event, _status: heard.append(event),
        on_trial_end=lambda: None,
        finalists=1,
    )
    return made, cluster, heard


def test_what_a_worker_of_another_machine_held_waits_again_as_soon_as_it_is_known_to_be_gone(
    tmp_path: Path,
) -> None:
    loop, cluster, heard = loop_over(tmp_path)
    loop.queue.add({}, {})
    loop.jobs.ensure([Job("baselines", "baselines")])
    for queue in (loop.queue, loop.jobs.queue):
        assert queue.claim("elsewhere/1/0") is not None
    loop.look()
    assert loop.queue.trial(0).state == loop.jobs.trials[0].state == TrialState.RUNNING
    cluster.said.append(Ended("3", "elsewhere/1/0", -9, asked=False))
    loop._tick()
    for trial in (loop.queue.trial(0), loop.jobs.queue.trial(0)):
        assert trial.state == TrialState.WAITING
        assert lease_of(trial).crashes == 1
    back = {event.kind: event.text for event in heard if event.kind.endswith("put-back")}
    why = "worker 3 was killed by SIGKILL"
    assert back == {"trial-put-back": why, "job-put-back": why}


def test_how_a_worker_ended_is_heard_before_its_trial_is_put_back(tmp_path: Path) -> None:
    """Its end is seen at once, but whether it crashed, or was killed for its memory, is not."""
    loop, cluster, heard = loop_over(tmp_path)
    popen = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = Process("0", popen, owner_of(popen.pid), tmp_path / "log")
    cluster.processes.append(worker)
    loop.queue.add({}, {})
    claim = loop.queue.claim(worker.owner)
    assert claim is not None
    plan = make_plan()
    lora = plan.candidate("lora")
    config = configure(plan, lora, lora.defaults(), number=0, attempt=1, origin="search")
    begin_attempt(loop.run.trial(0), config)
    popen.kill()
    popen.communicate()
    loop.look()
    assert loop.queue.trial(0).state == TrialState.RUNNING
    cluster.processes.clear()
    cluster.said.append(Ended("0", worker.owner, -9, asked=False, out_of_memory=True))
    loop._tick()
    trial = loop.queue.trial(0)
    assert (trial.state, lease_of(trial).crashes) == (TrialState.WAITING, 0)
    assert FITTED in trial.user_attrs
    (back,) = [event.text for event in heard if event.kind == "trial-put-back"]
    assert back == "the system killed worker 0 because memory ran out"


def test_a_job_that_failed_for_good_is_in_the_status(tmp_path: Path) -> None:
    loop, cluster, heard = loop_over(tmp_path)
    loop.jobs.ensure([Job("test", "tfidf")])
    for number in range(3):
        assert loop.jobs.queue.claim(f"elsewhere/{number}/0") is not None
        cluster.said.append(Ended("0", f"elsewhere/{number}/0", 70, asked=False))
        loop._tick()
    assert not loop.jobs.open()
    (ended,) = [event for event in heard if event.kind == "job-ended"]
    assert (ended.job, ended.state) == ("tfidf", "FAIL")
    said = "tfidf failed: its workers were gone 3 times: worker 0 ended with status 70"
    assert loop.progress.message == said


def test_a_job_that_ended_while_the_queue_was_read_is_not_ended_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, _, heard = loop_over(tmp_path)
    loop.jobs.ensure([Job("baselines", "baselines")])
    for number in range(3):
        claim = loop.jobs.queue.claim(f"elsewhere/{number}/0")
        assert claim is not None
        if number < 2:
            assert claim.put_back(crashed=True)
    before = loop.jobs.queue.trials()
    assert claim.finish(TrialState.COMPLETE, 0.0)
    loop.jobs.watch.end("elsewhere/2/0")
    monkeypatch.setattr(loop.jobs.queue, "trials", lambda: before)
    assert loop.jobs.recover(crashed=True) == []
    assert heard == []
