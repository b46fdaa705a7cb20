"""Texts to tokens, classes to losses, losses to figures."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from sweeper.data.examples import Example, digest
from sweeper.data.long_rows import long_row
from sweeper.errors import UsageError
from sweeper.tasks.classification import Classification, class_metrics, class_weights

TARGETS = [0] * 16 + [1] * 4 + [2]


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


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_long_text_loses_its_end_with_every_tokenizer(task, side):
    task.tokenizer.truncation_side = side
    (example,) = (Example("", 1, text="first " + "more " * 30, label="a"),)
    assert long_row("classification", has_prompt=False) == "cut"
    assert task.tokenizer.decode(task.encode([example])[0]["input_ids"]).startswith("first")


def test_a_batch_is_padded_to_its_own_longest_item(task, examples):
    batch = task.collate(task.encode(examples[:2]))
    assert batch["input_ids"].shape[1] == batch["attention_mask"].sum(1).max() < 12
    assert task.loss_terms(batch) == 2
    assert task.tokens(batch) == int(batch["attention_mask"].sum())


class Says(nn.Module):
    """Gives the same logits to every text."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor([logits])

    def forward(self, input_ids, attention_mask):
        return self.logits.expand(len(input_ids), -1)


def test_the_training_loss_is_the_sum_of_the_items_losses(task, examples):
    batch = task.collate(task.encode(examples))
    says = Says(0.0, 1.0, 3.0)
    loss, scores = task.loss(says, batch), task.score(says, batch)
    expected = -torch.log_softmax(torch.tensor([0.0, 1.0, 3.0]), 0)[[1, 0, 2]]
    assert torch.allclose(scores.losses, expected)
    assert task.loss_terms(batch) == 3
    assert float(loss.total) == pytest.approx(float(expected.sum()))
    evaluation = task.evaluation(scores, examples)
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


def test_balanced_is_what_scikit_learn_calls_so():
    found = class_weights("balanced", TARGETS, 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS)
    assert found.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("how", ["balanced-sqrt", "balanced"])
def test_a_row_counts_one_on_average(how):
    found = class_weights(how, TARGETS, 3)
    assert found[TARGETS].mean() == pytest.approx(1.0)


def test_the_square_root_goes_half_of_the_way():
    full, half = (class_weights(how, TARGETS, 3) for how in ("balanced", "balanced-sqrt"))
    assert full[2] / full[0] == pytest.approx(16.0)
    assert half[2] / half[0] == pytest.approx(4.0)


def test_a_class_without_rows_counts_one_and_none_weighs_nothing():
    assert class_weights("balanced", [0, 0, 2], 4)[[1, 3]].tolist() == [1.0, 1.0]
    assert class_weights("none", TARGETS, 3) is None


def test_a_weighting_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UsageError, match="balanced-sqrt, balanced"):
        class_weights("inverse", TARGETS, 3)


def test_weights_are_in_the_training_loss_and_nowhere_in_validation(make_task, make_tokenizer):
    rows = tuple(
        Example(key=digest(str(i)), line=i + 1, text=f"text {i}", label="a" if i < 3 else "b")
        for i in range(4)
    )
    splits = {"train": list(rows)}
    options = {"task": "classification", "labels": ("a", "b")}
    tokenizer = make_tokenizer(pad_token="<unk>")
    task = make_task(Classification, splits, cap=12, tokenizer=tokenizer, **options)
    weighted = task.for_training({"class_weight": "balanced"})
    batch = task.collate(task.encode(rows))
    says = Says(1.0, 0.0)
    plain, heavy = task.loss(says, batch), weighted.loss(says, batch)
    common, rare = -torch.log_softmax(torch.tensor([1.0, 0.0]), 0)
    assert float(plain.total) == pytest.approx(float(3 * common + rare))
    assert float(heavy.total) == pytest.approx(float(2 * common + 2 * rare))
    assert float(heavy.unweighted) == pytest.approx(float(plain.total))
    assert task.loss_weights(rows) is None
    assert weighted.loss_weights(rows).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])
    assert torch.equal(weighted.score(says, batch).losses, task.score(says, batch).losses)
    assert float(task.loss(says, batch).total) == float(plain.total)  # the task is as it was
