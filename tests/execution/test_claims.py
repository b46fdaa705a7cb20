from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from optuna.trial import TrialState

from sweeper.execution.claims import Lease, Queue, lease_of
from sweeper.search.storage import open_storage
from sweeper.search.study import create_study


@pytest.fixture(params=["sqlite:///{}/study.db", "journal:{}/study.log"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.param.format(tmp_path)


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


def claim_all(url: str, owner: str) -> list[int]:
    queue = make_queue(url)
    claimed = []
    while (claim := queue.claim(owner)) is not None:
        claimed.append(claim.number)
    return claimed


def test_processes_that_claim_at_once_never_share_a_trial(url: str) -> None:
    make_queue(url, 24)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        owners = [(url, f"h/{number}/0") for number in range(3)]
        claimed = pool.starmap(claim_all, owners)
    assert sorted(number for each in claimed for number in each) == list(range(24))


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
    queue.take_back(queue.trial(0), crashed=True)
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
