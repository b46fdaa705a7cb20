"""A trial whose numbers stop being numbers ends at once, with the reason."""

import math

import pytest
import torch

from sweeper.training.loop.training_progress import TrainingDiverged, TrainingProgress


def test_finite_losses_and_gradients_go_on():
    progress = TrainingProgress()
    for _ in range(3):
        progress.add(torch.tensor(2.0), 2, 10)
        progress.add_gradient_norm(torch.tensor(5.0))
        progress.step()
    assert (progress.steps, progress.take_train_loss()) == (3, 1.0)


@pytest.mark.parametrize(
    ("loss", "norm", "reason"),
    [
        (math.nan, 1.0, "training loss is not finite at step 1"),
        (math.inf, 1.0, "training loss is not finite at step 1"),
        (1.0, math.inf, "the gradient exploded: its norm is not finite at step 1"),
        (1.0, math.nan, "the gradient exploded: its norm is not finite at step 1"),
    ],
)
def test_the_first_number_that_is_none_ends_it(loss, norm, reason):
    progress = TrainingProgress()
    progress.add(torch.tensor(loss), 1, 10)
    progress.add_gradient_norm(norm)
    with pytest.raises(TrainingDiverged, match=reason):
        progress.step()


def test_on_a_gpu_it_looks_every_few_steps_and_misses_nothing_that_stays():
    progress = TrainingProgress(check_every=3)
    progress.add(torch.tensor(math.nan), 1, 10)
    progress.step()
    progress.step()
    with pytest.raises(TrainingDiverged, match="step 3"):
        progress.step()
