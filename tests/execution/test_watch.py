from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import asdict, replace

import optuna
from optuna.trial import FrozenTrial, TrialState
from sweeper.execution.claims import LEASE, Lease
from sweeper.execution.watch import LEASE_SECONDS, UNSIGNED_SECONDS, Watch

from sweeper.execution.owner import is_alive, is_local, owner_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def running(lease: Lease) -> FrozenTrial:
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, system_attrs={LEASE: asdict(lease)})
    trial._trial_id = 7
    return trial


def test_a_remote_lease_is_dead_when_its_beat_stood_still_for_long_enough() -> None:
    clock = Clock()
    watch = Watch(clock=clock, longest_gap=math.inf)
    lease = Lease("elsewhere/1/0", 1)
    assert watch.dead([running(lease)]) == []
    clock.now = LEASE_SECONDS - 1
    assert watch.dead([running(replace(lease, beat=1))]) == []
    clock.now += LEASE_SECONDS - 1
    assert watch.dead([running(replace(lease, beat=1))]) == []
    clock.now += 2
    assert len(watch.dead([running(replace(lease, beat=1))])) == 1


def test_a_worker_of_another_machine_is_dead_when_its_launcher_says_so() -> None:
    watch = Watch()
    gone, other = running(Lease("elsewhere/1/0", 1)), running(Lease("elsewhere/2/0", 1))
    assert watch.dead([gone, other]) == []
    watch.end("")  # one that came to nothing has no name
    watch.end("elsewhere/1/0")
    assert watch.dead([gone, other, running(Lease())]) == [gone]


def test_a_claim_that_was_never_signed_is_dead_after_a_short_while() -> None:
    clock = Clock()
    watch = Watch(clock=clock, longest_gap=math.inf)
    assert watch.dead([running(Lease())]) == []
    clock.now = UNSIGNED_SECONDS + 1
    assert len(watch.dead([running(Lease())])) == 1


def test_a_process_of_this_machine_is_dead_when_it_ended_and_no_sooner() -> None:
    watch = Watch()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = owner_of(child.pid)
    assert is_local(owner)
    assert watch.dead([running(Lease(owner, 1))]) == []
    child.kill()
    child.communicate()
    assert len(watch.dead([running(Lease(owner, 1))])) == 1


def test_a_later_process_with_the_same_number_is_another_owner() -> None:
    mine = owner_of(os.getpid())
    assert is_alive(mine)
    host, pid, started = mine.split("/")
    assert not is_alive(f"{host}/{pid}/{int(started) - 1}")
