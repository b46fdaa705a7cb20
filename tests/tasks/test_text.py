from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sweeper.data.examples import Example, Message
from sweeper.tasks.instruction import Instruction

MakeTask = Callable[..., Any]


def _example(line: int, asked: str, said: str) -> Example:
    return Example(f"k{line}", line, messages=(Message("user", asked), Message("assistant", said)))


TALK = [
    _example(1, "What is the capital of France?", "Paris."),
    _example(2, "Add.", "def add(a, b):\n    return a + b"),
    _example(
        3, "Answer the question in one short sentence, please.", "The fox jumps over the dog."
    ),
]


def test_padding_changes_no_items_loss(make_task: MakeTask, language_model: Any) -> None:
    task = make_task(Instruction, {"train": TALK})
    features = task.encode(TALK)
    assert len({len(feature["input_ids"]) for feature in features}) == 3

    with torch.no_grad():
        together = task.score(language_model, task.collate(features))
        alone = [task.score(language_model, task.collate([feature])) for feature in features]

    losses = torch.cat([scores.losses for scores in alone])
    torch.testing.assert_close(together.losses, losses, rtol=1e-6, atol=1e-6)
    assert together.weights.tolist() == [int(scores.weights) for scores in alone]


def test_between_base_models_losses_are_bits_per_byte_of_the_answer(
    make_task: MakeTask, llama: Any
) -> None:
    task = make_task(Instruction, {"train": TALK})
    several = make_task(Instruction, {"train": TALK})
    several.spec = several.spec.model_copy(update={"models": several.spec.models * 2})
    batch = task.collate(task.encode(TALK))

    with torch.no_grad():
        alone = task.evaluation(task.score(llama, batch), TALK)
        among = several.evaluation(several.score(llama, batch), TALK)

    said = [len(example.messages[-1].content.encode()) for example in TALK]
    assert among.weights.tolist() == said
    assert among.loss == pytest.approx(alone.metrics["bits_per_byte"], rel=1e-6)
    assert among.metrics == {"bits_per_byte": pytest.approx(among.loss)}


def test_validation_loss_is_the_mean_over_all_answer_tokens(
    make_task: MakeTask, llama: Any
) -> None:
    task = make_task(Instruction, {"train": TALK})
    batch = task.collate(task.encode(TALK))

    with torch.no_grad():
        evaluation = task.evaluation(task.score(llama, batch), TALK)
        trained_on = task.loss(llama, batch)

    assert evaluation.loss == pytest.approx(
        float(trained_on.total) / task.loss_terms(batch), rel=1e-6
    )
    assert task.loss_terms(batch) == int(evaluation.weights.sum())
    assert evaluation.metrics["perplexity"] == pytest.approx(math.exp(evaluation.loss))
    np.testing.assert_array_equal(evaluation.scores, evaluation.losses)


def test_bytes_of_an_answer_are_those_of_its_text(make_task: MakeTask) -> None:
    task = make_task(Instruction, {"train": TALK})

    feature = task.encode([_example(1, "Say é.", "é")])[0]

    assert task.tokenizer.decode(feature["labels"][-2:]).endswith("</s>")
    assert feature["answer_bytes"] == len("é".encode())


def test_long_prompts_are_shortened_and_long_answers_left_out_and_both_are_said(
    make_task: MakeTask, llama: Any
) -> None:
    task = make_task(Instruction, {"train": TALK}, cap=24)
    long = "What is the capital of France? " * 5
    examples = [_example(1, long, "Paris."), _example(2, "Say it.", long), TALK[0]]

    features = task.encode(examples)

    assert all(len(feature["input_ids"]) <= 24 for feature in features)
    whole = make_task(Instruction, {"train": TALK}, cap=1000).encode(examples)
    said = [[t for t in f["labels"] if t != -100] for f in features]
    assert said[0] == [t for t in whole[0]["labels"] if t != -100]
    assert features[0]["input_ids"][0] == task.tokenizer.bos_token_id
    assert said[1] == []
    assert [note.text for note in task.notes(features, "test")] == [
        "test: 1 of 3 prompts lost their beginning to fit 24 tokens",
        "test: 1 of 3 examples were left out: their answer alone does not fit 24 tokens",
    ]
    scores = task.score(llama, task.collate(features))
    assert scores.weights.tolist()[1] == 0


def test_nothing_is_said_where_nothing_happened(make_task: MakeTask) -> None:
    task = make_task(Instruction, {"train": TALK}, cap=1000)

    assert task.notes(task.encode(TALK), "train") == ()
