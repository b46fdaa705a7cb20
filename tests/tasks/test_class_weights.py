"""What each class counts, by hand; the loss that trains and the loss that judges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from sweeper.data.examples import Example, digest
from sweeper.errors import UsageError
from sweeper.tasks.class_weights import class_weights
from sweeper.tasks.classification import Classification

TARGETS = [0] * 16 + [1] * 4 + [2]


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


class Says(nn.Module):
    """Gives the same logits to every text."""

    def forward(self, input_ids, attention_mask):
        return torch.tensor([[1.0, 0.0]]).expand(len(input_ids), 2)


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
    plain, heavy = task.loss(Says(), batch), weighted.loss(Says(), batch)
    common, rare = -torch.log_softmax(torch.tensor([1.0, 0.0]), 0)
    assert float(plain.total) == pytest.approx(float(3 * common + rare))
    assert float(heavy.total) == pytest.approx(float(2 * common + 2 * rare))
    assert heavy.weight == plain.weight == 4
    assert float(heavy.unweighted) == pytest.approx(float(plain.total))
    assert task.emphasis(rows) is None
    assert weighted.emphasis(rows).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])
    assert torch.equal(weighted.score(Says(), batch).losses, task.score(Says(), batch).losses)
    assert float(task.loss(Says(), batch).total) == float(plain.total)  # the task is as it was
