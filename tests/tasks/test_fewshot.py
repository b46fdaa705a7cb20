from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sweeper.data.examples import Example, Message
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.chat import Encoded

MakeTask = Callable[..., Any]


def _example(line: int, asked: str, said: str) -> Example:
    return Example(f"k{line}", line, messages=(Message("user", asked), Message("assistant", said)))


TRAIN = [_example(line, f"Add {line}.", f"The sum is {line}.") for line in range(1, 6)]
ITEMS = [
    _example(11, "Add 7.", "The sum is 7."),
    _example(12, "What is the capital of France, please?", "Paris."),
]


@pytest.fixture
def baselines(
    make_task: MakeTask, make_context: Any, language_model: Any
) -> tuple[Any, Any, Any, Any]:
    task = make_task(Instruction, {"train": TRAIN, "validation": ITEMS})
    context = make_context(task, language_model)
    zero, few = task.baselines(context)
    return task, context, zero, few


def test_zero_shot_is_the_base_model_scored_as_trials_are(
    baselines: tuple[Any, Any, Any, Any],
) -> None:
    _, context, zero, _ = baselines

    evaluation = zero.evaluate("validation")

    np.testing.assert_allclose(
        evaluation.losses, context.measure(context.base(), "validation").losses
    )


def test_few_shot_equals_reading_everything_anew_for_each_item(
    baselines: tuple[Any, Any, Any, Any],
) -> None:
    task, context, zero, few = baselines

    evaluation = few.evaluate("validation")

    turns = [turn for shot in few.shots for turn in shot.messages]
    for item, loss in zip(ITEMS, evaluation.losses, strict=True):
        whole = task.chat.encode((*turns, *item.messages))
        alone = Encoded(whole.ids, whole.answers[-1:], 0, whole.answer_bytes[-1:])
        features = [
            {
                "input_ids": alone.ids,
                "labels": alone.labels(),
                "answer_bytes": alone.answer_bytes[0],
            }
        ]
        with torch.no_grad():
            expected = task.score(context.base(), task.collate(features)).losses
        assert loss == pytest.approx(float(expected[0]), rel=1e-5)
    np.testing.assert_array_equal(evaluation.weights, zero.evaluate("validation").weights)
    assert abs(evaluation.loss - zero.evaluate("validation").loss) > 1e-3


def test_examples_are_shown_only_where_the_context_has_room(
    make_task: MakeTask, make_context: Any, llama: Any
) -> None:
    task = make_task(Instruction, {"train": TRAIN, "validation": ITEMS}, cap=250)

    names = [baseline.name for baseline in task.baselines(make_context(task, llama))]

    assert names == ["zero_shot"]


def test_too_few_examples_are_not_shown(make_task: MakeTask, make_context: Any, llama: Any) -> None:
    task = make_task(Instruction, {"train": TRAIN[:2]})

    names = [baseline.name for baseline in task.baselines(make_context(task, llama))]

    assert names == ["zero_shot"]


def test_the_few_shot_model_writes_after_the_same_examples(
    baselines: tuple[Any, Any, Any, Any],
) -> None:
    task, _, _, few = baselines
    shots = [turn for shot in few.shots for turn in shot.messages]
    for item in ITEMS:
        prompt = few.prompt(item)
        whole = task.chat.encode((*shots, *item.messages))
        assert prompt == whole.ids[: whole.answers[-1][0]]
        assert len(prompt) > len(task.prompt(item))
    long = _example(13, "Add 7. " * 200, "The sum is 7.")
    cut = few.prompt(long)
    assert len(cut) == len(task.chat.encode(shots).ids) + task.sequence_length
    assert cut[:20] == few.prompt(ITEMS[0])[:20]
