"""Steps, rungs and learning rates."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from sweeper.training.loop.schedule import optimizer_steps, rung_steps, schedule


@pytest.mark.parametrize(
    ("examples", "batch", "epochs", "steps"),
    [(1500, 16, 1, 94), (1500, 16, 3, 282), (96, 8, 2, 24), (5, 8, 1, 1), (100, 16, 0.5, 4)],
)
def test_an_incomplete_batch_is_a_step(examples, batch, epochs, steps):
    assert optimizer_steps(examples, batch, epochs) == steps


@given(st.integers(1, 5000), st.integers(1, 16))
def test_every_rung_has_a_step_in_order_and_the_last_one_is_the_end(steps, rungs):
    at = rung_steps(steps, rungs)
    assert [rung for step in sorted(at) for rung in at[step]] == list(range(1, rungs + 1))
    assert max(at) == steps
    assert min(at) >= 1
    if steps >= 2 * rungs:
        assert all(len(found) == 1 for found in at.values())


@given(st.integers(1, 5000), st.sampled_from([1, 2, 4, 8]))
def test_fewer_rungs_lie_where_they_would_among_all(steps, every):
    where = {rung: step for step, rungs in rung_steps(steps, 8).items() for rung in rungs}
    at = rung_steps(steps, 8, every)
    assert [rung for step in sorted(at) for rung in at[step]] == list(range(every, 9, every))
    assert all(where[rung] == step for step, rungs in at.items() for rung in rungs)


def rates(parameters, steps):
    plan = schedule(parameters, steps)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        plan.kind, optimizer, plan.warmup_steps, steps, scheduler_specific_kwargs=plan.options
    )
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*seen, scheduler.get_last_lr()[0]]


def test_the_default_warms_up_stays_and_decays_in_the_last_eighth():
    seen = rates({}, 160)
    assert seen[0] == 0
    assert seen[4] == pytest.approx(0.5)
    assert set(seen[8:141]) == {1.0}
    assert all(before > after for before, after in pairwise(seen[140:161]))
    assert seen[160] == 0


@pytest.mark.parametrize("kind", ["constant_with_warmup", "cosine", "linear"])
def test_other_schedules_take_the_same_warmup(kind):
    plan = schedule({"lr_scheduler_type": kind, "warmup_ratio": 0.1}, 50)
    assert (plan.kind, plan.warmup_steps, plan.options) == (kind, 5, {})
    assert rates({"lr_scheduler_type": kind, "warmup_ratio": 0.1}, 50)[5] == 1.0


@given(st.integers(1, 40), st.floats(0, 0.9))
def test_warmup_is_whole_steps_and_leaves_room(steps, ratio):
    plan = schedule({"warmup_ratio": ratio}, steps)
    assert isinstance(plan.warmup_steps, int)
    assert plan.warmup_steps + plan.options["num_decay_steps"] <= steps
    assert plan.warmup_steps < steps


def test_warmup_in_steps_wins_over_a_ratio():
    assert schedule({"warmup_steps": 7, "warmup_ratio": 0.5}, 100).warmup_steps == 7
