from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from optuna.trial import TrialState

from sweeper.execution.claims import Lease, Queue, lease_of
from sweeper.execution.watch import Watch
from sweeper.search.storage import open_storage
from sweeper.search.study import create_study


@pytest.fixture
def url(any_storage: str) -> str:
    return any_storage


def make_queue(url: str, waiting: int = 0) -> Queue:
    storage = open_storage(url)
    queue = Queue(storage, create_study(storage, "s"))
    for number in range(waiting):
        queue.add({}, {"n": number})
    return queue


def test_claims_come_in_order_and_below_the_total(url: str) -> None:
    queue = make_queue(url, 3)
    claims = [queue.claim("a/1/0", below=2) for _ in range(3)]
    assert [claim and claim.number for claim in claims] == [0, 1, None]
    assert lease_of(queue.trial(0)) == Lease("a/1/0", 1)
    assert queue.trial(0).state == TrialState.RUNNING


def claim_all(url: str, owner: str, together: threading.Barrier) -> list[int]:
    queue = make_queue(url)
    together.wait()
    claimed = []
    while queue.trials(TrialState.WAITING):
        claim = queue.claim(owner)
        if claim is not None:
            claimed.append(claim.number)
            time.sleep(0.01)  # or one of them takes all while the others wait for the processor
    return claimed


def test_workers_that_claim_at_once_never_share_a_trial_and_leave_none(url: str) -> None:
    make_queue(url, 24)
    together = threading.Barrier(3, timeout=60)
    with ThreadPoolExecutor(3) as pool:
        owners = [f"h/{number}/0" for number in range(3)]
        claimed = list(pool.map(lambda owner: claim_all(url, owner, together), owners))
    assert sorted(number for each in claimed for number in each) == list(range(24))
    assert sum(1 for each in claimed if each) > 1


def test_what_is_put_back_keeps_its_attempts_and_counts_crashes(url: str) -> None:
    queue = make_queue(url, 1)
    for crashed, crashes in ((False, 0), (True, 1)):
        claim = queue.claim("h/1/0")
        assert claim is not None
        assert claim.put_back(crashed=crashed)
        assert queue.trial(0).state == TrialState.WAITING
        assert lease_of(queue.trial(0)).crashes == crashes
    last = queue.claim("h/2/0")
    assert last is not None
    assert last.lease.attempt == 3


def test_a_stale_holder_can_neither_renew_nor_put_back_nor_finish(url: str) -> None:
    queue = make_queue(url, 1)
    stale = queue.claim("h/1/0")
    assert stale is not None
    assert queue.take_back(queue.trial(0), crashed=True)
    fresh = queue.claim("h/2/0")
    assert fresh is not None
    assert not stale.renew()
    assert not stale.put_back(crashed=False)
    assert not stale.finish(TrialState.COMPLETE, 0.1)
    assert queue.trial(0).state == TrialState.RUNNING
    assert fresh.finish(TrialState.COMPLETE, 0.2)
    assert queue.trial(0).value == 0.2
    assert not fresh.finish(TrialState.COMPLETE, 0.3)


def test_renewing_moves_the_beat_and_nothing_else(url: str) -> None:
    queue = make_queue(url, 1)
    claim = queue.claim("h/1/0")
    assert claim is not None
    assert claim.renew()
    assert lease_of(queue.trial(0)) == Lease("h/1/0", 1, 0, 1)


def test_a_dead_owners_trial_is_taken_over_once(url: str) -> None:
    queue, other = make_queue(url, 1), make_queue(url)
    assert queue.claim("elsewhere/1/0") is not None
    now = [0.0]
    watch = Watch(clock=lambda: now[0], lease_seconds=60.0, longest_gap=100.0)
    assert watch.dead(queue.trials()) == []
    now[0] = 61.0
    (dead,) = watch.dead(queue.trials())
    assert [each.take_back(dead, crashed=True) for each in (queue, other)] == [True, False]
    assert lease_of(queue.trial(0)) == Lease("", 1, 1)
    claims = [each.claim("h/2/0") for each in (queue, other)]
    assert [claim is not None for claim in claims] == [True, False]
    # Whoever still holds the old picture cannot take it from its new holder.
    assert not other.take_back(dead, crashed=True)
    assert lease_of(queue.trial(0)).owner == "h/2/0"


def test_one_who_beats_again_before_it_is_taken_over_keeps_its_trial(url: str) -> None:
    queue = make_queue(url, 1)
    claim = queue.claim("h/1/0")
    assert claim is not None
    seen = queue.trial(0)
    assert claim.renew()
    assert not queue.take_back(seen, crashed=True)
    assert claim.finish(TrialState.COMPLETE, 0.1)


def test_ends_and_take_backs_at_once_leave_one_winner(url: str) -> None:
    """Each trial's holder ends it while another process takes it for dead."""
    total = 8
    queue, watcher = make_queue(url, total), make_queue(url)
    claims = [queue.claim("h/1/0") for _ in range(total)]
    seen = watcher.trials()
    taken: list[bool] = []
    together = threading.Barrier(2, timeout=60)

    def take() -> None:
        together.wait()
        taken.extend(watcher.take_back(trial, crashed=True) for trial in reversed(seen))

    thread = threading.Thread(target=take)
    thread.start()
    together.wait()
    finished = [claim is not None and claim.finish(TrialState.COMPLETE, 0.5) for claim in claims]
    thread.join()
    for number, (ended, lost) in enumerate(zip(finished, reversed(taken), strict=True)):
        assert ended != lost
        state = TrialState.COMPLETE if ended else TrialState.WAITING
        assert make_queue(url).trial(number).state == state
