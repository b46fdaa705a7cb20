"""Replay: the share of general tokens is exact in expectation, whatever the micro-batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.features.forgetting._remedies import Replay


def feature(tokens: int, terms: int | None = None) -> dict[str, Any]:
    said = tokens - 1 if terms is None else terms
    return {"input_ids": [1] * tokens, "labels": [-100] * (tokens - said) + [1] * said}


FEATURES = [feature(tokens) for tokens in (3, 5, 9, 14, 20, 33)]
TASK: Any = SimpleNamespace()


def replayed(seed: int, share: float, steps: int, tokens: int, micro: int = 8) -> list[int]:
    replay = Replay(TASK, FEATURES, share, seed)
    return [
        sum(len(f["input_ids"]) for f in replay.due(tokens, micro).features) for _ in range(steps)
    ]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_over_a_run_the_share_is_exact_to_within_one_example(share: float) -> None:
    for seed in range(20):
        total = sum(replayed(seed, share, steps=200, tokens=64))
        assert abs(total - 200 * 64 * share / (1 - share)) <= max(
            len(f["labels"]) for f in FEATURES
        )


def test_the_share_is_exact_in_expectation_at_every_single_step() -> None:
    seeds = 3000
    runs = [replayed(seed, 0.2, steps=4, tokens=40) for seed in range(seeds)]
    for step in range(4):
        mean = sum(run[step] for run in runs) / seeds
        assert mean == pytest.approx(10, abs=0.8)


def test_what_is_drawn_by_the_end_of_a_step_does_not_depend_on_the_micro_batch() -> None:
    assert replayed(1, 0.3, 10, 50, micro=8) == replayed(1, 0.3, 10, 50, micro=1)


def test_passes_never_hold_more_than_a_micro_batch() -> None:
    due = Replay(TASK, FEATURES, 0.5, 0).due(200, micro_batch=4)
    assert due.chunks == -(-len(due.features) // 4)


def test_ranks_share_what_is_drawn_and_make_equally_many_passes() -> None:
    ranks = [Replay(TASK, FEATURES, 0.2, 5, rank, 3) for rank in range(3)]
    alone = Replay(TASK, FEATURES, 0.2, 5)
    for _ in range(20):
        dues = [replay.due(100, 2) for replay in ranks]
        whole = alone.due(100, 2)
        assert len({due.chunks for due in dues}) == 1
        sizes = [len(f["labels"]) for due in dues for f in due.features]
        assert sorted(sizes) == sorted(len(f["labels"]) for f in whole.features)


def test_a_steps_general_terms_weigh_the_share_in_expectation() -> None:
    """The sum over many steps of weight times terms is the share for each step."""
    features = [feature(10, terms=4), feature(20, terms=15)]
    replay = Replay(TASK, features, 0.25, 0)
    steps, total = 4000, 0.0
    for _ in range(steps):
        due = replay.due(60, 8)
        total += due.weight * sum(label != -100 for f in due.features for label in f["labels"])
    assert total / steps == pytest.approx(0.25, rel=0.01)


def test_an_example_without_terms_stands_in_for_none() -> None:
    assert set(Replay(TASK, FEATURES, 0.2, 0).empty_example()["labels"]) == {-100}
