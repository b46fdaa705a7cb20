"""Scores do not depend on batches, padding or order; rungs use a nested subset."""

import numpy as np
import pytest

from sweeper.backend import Interrupted, ProgressReporter
from sweeper.evaluation.evaluator import Evaluator


@pytest.fixture
def shared(make_shared):
    return make_shared("llama")


@pytest.fixture
def model(shared):
    return shared.context.task.assemble(shared.context.base(), {})


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_and_padding_change_nothing(shared, model, size):
    items = shared.context.items("validation")
    one = Evaluator(shared.context.task, items, 16).evaluate(model)
    other = Evaluator(shared.context.task, items, size).evaluate(model)
    assert other.losses == pytest.approx(one.losses, rel=1e-5)
    assert other.metrics == one.metrics


def test_the_first_items_are_nested(shared, model):
    evaluator = Evaluator(shared.context.task, shared.context.items("validation"), 16)
    whole, part = evaluator.evaluate(model), evaluator.evaluate(model, 12)
    assert part.losses == pytest.approx(whole.losses[:12], rel=1e-5)
    assert part.loss == pytest.approx(np.mean(whole.losses[:12]), rel=1e-5)
    assert len(evaluator.evaluate(model, 10_000).losses) == len(whole.losses) == 40


def test_it_stops_when_told_to(shared, model):
    on_progress = ProgressReporter()
    on_progress.should_stop = lambda: True
    items = shared.context.items("validation")
    evaluator = Evaluator(shared.context.task, items, 16, on_progress=on_progress.steps("scoring"))
    with pytest.raises(Interrupted):
        evaluator.evaluate(model)
