"""Texts to tokens, classes to losses, losses to figures."""

import numpy as np
import pytest
import torch
from torch import nn

from sweeper.data.examples import Example, digest
from sweeper.tasks.classification import Classification, class_metrics


@pytest.fixture
def examples():
    rows = [("what is this", "b"), ("", "a"), ("a long text " * 30, "c")]
    return tuple(
        Example(key=digest(text), line=i + 1, text=text, label=label)
        for i, (text, label) in enumerate(rows)
    )


@pytest.fixture
def task(examples, make_task, make_tokenizer):
    return make_task(
        Classification,
        {"train": list(examples)},
        cap=12,
        task="classification",
        labels=("a", "b", "c"),
        tokenizer=make_tokenizer(pad_token="<unk>"),
    )


def test_features_are_capped_and_never_empty(task, examples):
    features = task.encode(examples)
    assert [feature["label"] for feature in features] == [1, 0, 2]
    assert [len(feature["input_ids"]) for feature in features][1:] == [1, 12]


def test_a_batch_is_padded_to_its_own_longest_item(task, examples):
    batch = task.collate(task.encode(examples[:2]))
    assert batch["input_ids"].shape[1] == batch["attention_mask"].sum(1).max() < 12
    assert task.weight(batch) == 2
    assert task.tokens(batch) == int(batch["attention_mask"].sum())


class Says(nn.Module):
    """Gives the same logits to every text."""

    def forward(self, input_ids, attention_mask):
        return torch.tensor([[0.0, 1.0, 3.0]]).expand(len(input_ids), 3)


def test_the_training_loss_is_the_sum_of_the_items_losses(task, examples):
    batch = task.collate(task.encode(examples))
    loss, scores = task.loss(Says(), batch), task.score(Says(), batch)
    expected = -torch.log_softmax(torch.tensor([0.0, 1.0, 3.0]), 0)[[1, 0, 2]]
    assert torch.allclose(scores.losses, expected)
    assert loss.weight == 3
    assert float(loss.total) == pytest.approx(float(expected.sum()))
    evaluation = task.evaluation([scores], examples)
    assert evaluation.loss == pytest.approx(float(expected.mean()))
    assert evaluation.metrics["accuracy"] == pytest.approx(1 / 3)
    assert evaluation.scores.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("predicted", "targets", "accuracy", "macro_f1"),
    [
        ([0, 1, 1, 0], [0, 1, 1, 0], 1.0, 1.0),
        ([0, 0, 0, 0], [0, 0, 0, 1], 0.75, (6 / 7) / 2),
        ([2, 1], [0, 1], 0.5, 1 / 3),
    ],
)
def test_metrics_by_hand(predicted, targets, accuracy, macro_f1):
    metrics, scores = class_metrics(np.eye(3)[predicted], targets)
    assert metrics == pytest.approx({"accuracy": accuracy, "macro_f1": macro_f1})
    assert scores.mean() == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("kind", "own", "expected"),
    [("encoder", "mean", "mean"), ("encoder", None, "cls"), ("decoder", None, "mean")],
)
def test_pooling_is_the_models_own(task, kind, own, expected):
    task.facts = task.facts.model_copy(update={"kind": kind, "pooling": own})
    assert task.pooling == expected
