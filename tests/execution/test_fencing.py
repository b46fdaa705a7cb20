"""A process that is stopped inside of a section for so long that others break it open, and then
goes on, at every call that it makes of the storage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from sweeper.execution.claims import Claim, Queue, lease_of
from sweeper.search.storage import Storage
from sweeper.search.study import create_study

Act = Callable[[], object]
# More than any change of hands makes.
CALLS = 8


@contextlib.contextmanager
def broken_open(_trial: int | None = None, *, wait: bool = True) -> Iterator[bool]:
    """A section that keeps nobody out."""
    yield True


class Stopped:
    """A storage whose caller is stopped before one of its calls, while others do something."""

    def __init__(self, inner: BaseStorage) -> None:
        self.inner = inner
        self.before: int | None = None
        self.meanwhile: Act = lambda: None

    def __getattr__(self, name: str) -> Any:
        known = getattr(self.inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.before is not None:
                self.before -= 1
                if self.before < 0:
                    self.before = None
                    self.meanwhile()
            return known(*args, **kwargs)

        return call


class Scene:
    """One trial, one who will be stopped, and others who go on."""

    def __init__(self) -> None:
        inner = InMemoryStorage()
        self.stopped = Stopped(inner)
        self.queue = self._queue(inner)
        self.slow = self._queue(cast(BaseStorage, self.stopped))
        self.queue.add({}, {})
        self.taken: Claim | None = None

    def _queue(self, optuna: BaseStorage) -> Queue:
        storage = Storage("", optuna, broken_open)
        return Queue(storage, create_study(storage, "s"))

    def others_take_it(self) -> None:
        """The command takes the trial for abandoned, and another worker claims it."""
        trial = self.queue.trial(0)
        if trial.state == TrialState.RUNNING:
            assert self.queue.take_back(trial, crashed=True)
        self.taken = self.queue.claim("h/2/0")
        assert self.taken is not None

    def stop(self, before: int) -> None:
        self.stopped.before, self.stopped.meanwhile = before, self.others_take_it

    def claimed(self) -> Claim:
        claim = self.slow.claim("h/1/0")
        assert claim is not None
        return claim


def claiming(scene: Scene, before: int) -> object:
    scene.stop(before)
    return scene.slow.claim("h/1/0")


def renewing(scene: Scene, before: int) -> object:
    claim = scene.claimed()
    scene.stop(before)
    return claim.renew() and claim.held()


def putting_back(scene: Scene, before: int) -> object:
    claim = scene.claimed()
    scene.stop(before)
    return claim.put_back(crashed=False)


def taking_back(scene: Scene, before: int) -> object:
    scene.claimed()
    seen = scene.slow.trial(0)
    scene.stop(before)
    return scene.slow.take_back(seen, crashed=True)


@pytest.mark.parametrize("act", [claiming, renewing, putting_back, taking_back])
@pytest.mark.parametrize("before", range(CALLS))
def test_who_goes_on_late_takes_nothing_from_the_new_holder(
    act: Callable[[Scene, int], object], before: int
) -> None:
    scene = Scene()
    done = act(scene, before)
    if scene.taken is None:  # it was through before the moment came
        assert done
        return
    if act is claiming:
        assert done is None
    assert scene.taken.held()
    assert lease_of(scene.queue.trial(0)) == scene.taken.lease
    # Whatever was said of the trial meanwhile, nobody else gets it, and then it runs.
    assert scene.queue.claim("h/3/0") is None
    assert scene.queue.trial(0).state == TrialState.RUNNING
    assert scene.taken.renew()
    assert scene.taken.finish(TrialState.COMPLETE, 0.2)
    assert scene.queue.trial(0).value == 0.2


@pytest.mark.parametrize("before", range(CALLS))
def test_an_end_that_was_being_written_counts_and_no_second_one_does(before: int) -> None:
    scene = Scene()
    claim = scene.claimed()
    scene.stop(before)
    ended = claim.finish(TrialState.COMPLETE, 0.1)
    if scene.taken is None:
        assert ended
        return
    assert scene.taken.finish(TrialState.COMPLETE, 0.2) is not ended
    assert scene.queue.trial(0).value == (0.1 if ended else 0.2)


@pytest.mark.parametrize("before", range(CALLS))
def test_a_claim_that_was_taken_back_before_it_was_signed_is_given_up(before: int) -> None:
    scene = Scene()

    def take_back() -> None:
        trial = scene.queue.trial(0)
        if trial.state == TrialState.RUNNING:
            scene.queue.take_back(trial, crashed=False)

    scene.stopped.before, scene.stopped.meanwhile = before, take_back
    late = scene.slow.claim("h/1/0")
    scene.stopped.before = None
    next_one = scene.queue.claim("h/2/0")
    (holder,) = [claim for claim in (late, next_one) if claim is not None]
    assert holder.held()
    assert scene.queue.trial(0).state == TrialState.RUNNING
    assert lease_of(scene.queue.trial(0)) == holder.lease
