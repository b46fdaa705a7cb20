"""Scores do not depend on batches, padding or order; rungs use a nested subset."""

import numpy as np
import pytest

from sweeper.backend import Interrupted
from sweeper.evaluation.judge import Judge


@pytest.fixture
def workshop(make_workshop):
    return make_workshop("llama")


@pytest.fixture
def model(workshop):
    return workshop.task.assemble(workshop.base(), {})


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_and_padding_change_nothing(workshop, model, size):
    items = workshop.items("validation")
    one = Judge(workshop.task, items, 16).evaluate(model)
    other = Judge(workshop.task, items, size).evaluate(model)
    assert other.losses == pytest.approx(one.losses, rel=1e-5)
    assert other.metrics == one.metrics


def test_the_first_items_are_nested(workshop, model):
    judge = Judge(workshop.task, workshop.items("validation"), 16)
    whole, part = judge.evaluate(model), judge.evaluate(model, 12)
    assert part.losses == pytest.approx(whole.losses[:12], rel=1e-5)
    assert part.loss == pytest.approx(np.mean(whole.losses[:12]), rel=1e-5)
    assert len(judge.evaluate(model, 10_000).losses) == len(whole.losses) == 40


def test_it_stops_when_told_to(workshop, model):
    judge = Judge(workshop.task, workshop.items("validation"), 16, should_stop=lambda: True)
    with pytest.raises(Interrupted):
        judge.evaluate(model)
