"""The order of examples: all of them, in batches of like lengths, the same for any micro-batch."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.training.loop.batch_order import LengthGroupedBatches


def batches(order, size):
    return [order[start : start + size] for start in range(0, len(order), size)]


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 9)
)
def test_each_epoch_is_a_permutation(lengths, batch, seed):
    order = LengthGroupedBatches(lengths, batch, seed)
    assert len(order) == len(lengths)
    for _ in range(2):
        assert sorted(order) == list(range(len(lengths)))


@given(st.lists(st.integers(1, 500), min_size=40, max_size=300), st.integers(1, 40))
def test_the_longest_example_is_in_the_first_batch_of_whole_ones(lengths, batch):
    parts = batches(list(LengthGroupedBatches(lengths, batch, 0)), batch)
    whole = [part for part in parts if len(part) == batch]
    longest = max(lengths[i] for part in whole for i in part)
    assert max(lengths[i] for i in parts[0]) == longest
    assert all(len(part) == batch for part in parts[:-1])


@pytest.fixture
def lengths():
    return [1 + (7919 * i) % 97 for i in range(1000)]


def test_the_same_seed_gives_the_same_epochs_and_epochs_differ(lengths):
    first, second = (LengthGroupedBatches(lengths, 16, 3) for _ in range(2))
    epochs = [list(first), list(first)]
    assert [list(second), list(second)] == epochs
    assert epochs[0] != epochs[1]
    assert list(LengthGroupedBatches(lengths, 16, 4)) != epochs[0]


def test_batches_waste_little_padding(lengths):
    def padded(order):
        return sum(len(b) * max(lengths[i] for i in b) for b in batches(order, 16))

    real = sum(lengths)
    assert padded(list(range(1000))) > 1.7 * real
    assert padded(list(LengthGroupedBatches(lengths, 16, 0))) < 1.1 * real


@pytest.mark.parametrize(("rows", "most"), [(60, 0.75), (120, 0.65)])
def test_small_data_are_grouped_too_and_epochs_still_differ(lengths, rows, most):
    def padded(order):
        return sum(len(b) * max(lengths[i] for i in b) for b in batches(order, 8))

    order = LengthGroupedBatches(lengths[:rows], 8, 0)
    epochs = [list(order) for _ in range(4)]
    waste = [padded(epoch) - sum(lengths[:rows]) for epoch in epochs]
    assert max(waste) < most * (padded(range(rows)) - sum(lengths[:rows]))
    together = [{frozenset(part) for part in batches(epoch, 8)} for epoch in epochs]
    assert not together[0] & together[1]


def test_a_length_that_tells_the_class_does_not_make_batches_of_one_class():
    lengths = [1 + n % 3 for n in range(48)]  # three classes, three lengths
    grouped, mixed = (LengthGroupedBatches(lengths, 8, 0, least) for least in (8, 1))
    alone = [
        sum(len({lengths[i] for i in part}) == 1 for part in batches(list(order), 8))
        for order in (grouped, mixed)
    ]
    assert alone[0] > alone[1] == 0


def test_lengths_do_not_drift_within_an_epoch(lengths):
    epochs = [list(LengthGroupedBatches(lengths, 16, seed)) for seed in range(20)]
    halves = [
        statistics.mean(lengths[i] for order in epochs for i in order[half])
        for half in (slice(16, 496), slice(496, 976))
    ]
    assert halves[0] == pytest.approx(halves[1], rel=0.1)
