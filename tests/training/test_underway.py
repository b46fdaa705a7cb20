"""Every phase that has no rungs tells how far it is, and stops within a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.backend import Interrupted
from sweeper.training.torch_backend import TorchBackend
from sweeper.trials import TrialConfig


@pytest.fixture
def told(backend: TorchBackend, heard: Any) -> Any:
    """All that the backend tells."""
    backend._on_progress._on_progress = heard.on_progress._on_progress
    backend._on_progress._clock = heard.on_progress._clock
    return heard


def ends(told: Any, what: str) -> tuple[int, int]:
    """The first and the last step that was told of a piece of work."""
    steps = told.of(what)
    assert steps == sorted(steps)
    return steps[0], steps[-1]


def test_baselines_tell_how_far_they_are(backend: TorchBackend, told: Any) -> None:
    names = [result.name for result in backend.baselines()]
    assert names == ["majority", "tfidf", "probe"]
    assert ends(told, "TF-IDF with logistic regression: fitting a logistic regression")[1] > 0
    assert ends(told, "frozen probe: computing features of train") == (0, 80)
    assert ends(told, "frozen probe: tokenising train") == (0, 0)
    assert ends(told, "frozen probe: fitting the frozen probe")[1] > 1
    assert not backend._on_progress.title


def test_a_trial_and_its_test_score_tell_how_far_they_are(
    backend: TorchBackend,
    told: Any,
    config: Callable[..., TrialConfig],
    tmp_path: Path,
    answering: Any,
) -> None:
    backend.train(config(), tmp_path, answering(), lambda: False)
    assert ends(told, "training") == (0, 24)
    assert told.of("scoring validation") == [0, 16] * 3 + [0, 16, 32]  # 20 items, at last all 40
    told.clear()
    backend.score_test("trial-3", config(), tmp_path)
    assert ends(told, "scoring test") == (0, 16)


def test_a_listener_that_raises_ends_work_that_nobody_else_can_stop(
    backend: TorchBackend, config: Callable[..., TrialConfig], tmp_path: Path, answering: Any
) -> None:
    """Baselines and test scores are told of nothing but through the listener."""
    backend.train(config(), tmp_path, answering(), lambda: False)

    def stop(what: str, *_: int) -> None:
        if what in ("scoring test", "frozen probe: computing features of train"):
            raise Interrupted

    backend._on_progress._on_progress = stop
    with pytest.raises(Interrupted):
        list(backend.baselines())
    with pytest.raises(Interrupted):
        backend.score_test("trial-3", config(), tmp_path)


def test_features_stop_within_a_batch(
    backend: TorchBackend, config: Callable[..., TrialConfig], tmp_path: Path, answering: Any
) -> None:
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 3

    head = config(strategy="head", parameters={})
    with pytest.raises(Interrupted):
        backend.train(head, tmp_path, answering(), stop)
    assert len(asked) == 4
