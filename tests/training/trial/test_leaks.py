"""Nothing of an earlier training is in memory when the next one begins."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from sweeper.training.trial import train
from sweeper.training.trial.train import train_trial


@pytest.fixture
def _no_automatic_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_automatic_collection")
def test_the_optimizer_of_a_trial_is_gone_before_the_next_one_takes_its_base(
    make_job: Any, make_shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = make_shared()
    seen: list[weakref.ref[Any]] = []
    left: list[int] = []
    make, assemble = train._trainer, train.assembled

    def making(*given: Any) -> Any:
        watch, trainer = make(*given)
        seen.append(weakref.ref(trainer))
        return watch, trainer

    def assembling(*given: Any) -> Any:
        left.append(sum(1 for one in seen if one() is not None))
        return assemble(*given)

    monkeypatch.setattr(train, "_trainer", making)
    monkeypatch.setattr(train, "assembled", assembling)
    for _ in range(2):
        assert train_trial(make_job(shared)).state == "COMPLETE"
    assert left == [0, 0]
