"""Rows of each epoch: exact shares, and all rows of a part before any comes again."""

from collections import Counter

import pytest

from sweeper.data.examples import Example
from sweeper.training.loop.batch_order import LengthGroupedBatches, Mixture, mixture


def test_a_small_part_repeats_and_a_large_one_is_seen_in_turns():
    mixed = Mixture([(range(10), 3), (range(10, 100), 1)], 40, seed=1)
    seen = Counter(row for epoch in range(9) for row in mixed.rows(epoch))
    assert {seen[row] for row in range(10)} == {27}
    assert {seen[row] for row in range(10, 100)} == {1}
    assert all(len(mixed.rows(epoch)) == 40 for epoch in range(9))


def test_an_epoch_is_the_same_whenever_it_is_asked_for():
    first, second = (Mixture([(range(7), 1), (range(7, 30), 2)], 20, 5) for _ in range(2))
    later = second.rows(4)
    assert [first.rows(epoch) for epoch in range(5)][4] == later
    assert Mixture([(range(7), 1), (range(7, 30), 2)], 20, 6).rows(4) != later


def example(number, source=""):
    return Example(key=str(number), line=number, text=str(number), source=source)


def test_further_rows_are_seen_as_often_as_originals_in_the_same_number_of_rows():
    mixed = mixture([example(n) for n in range(60)], 30, {}, 0)
    seen = Counter(row for epoch in range(3) for row in mixed.rows(epoch))
    assert mixed.size == 60
    assert set(seen.values()) == {2}
    assert len(seen) == 90


def test_weights_hold_among_originals_beside_further_rows():
    originals = [example(n, "a" if n < 10 else "b") for n in range(60)]
    mixed = mixture(originals, 20, {"a": 2.0, "b": 1.0}, 0)
    assert mixed.counts == [30, 15, 15]


def test_without_weights_and_further_rows_nothing_changes():
    assert mixture([example(n, "a") for n in range(5)], 0, {}, 0) is None


@pytest.mark.parametrize("epoch", [0, 2])
def test_batches_hold_the_rows_of_their_epoch(epoch):
    lengths = [1 + n % 7 for n in range(100)]
    mixed = Mixture([(range(10), 1), (range(10, 100), 1)], 50, 3)
    order = LengthGroupedBatches(lengths, 8, 3, epoch=epoch, mixture=mixed)
    assert len(order) == 50
    assert sorted(order) == sorted(mixed.rows(epoch))
    assert sorted(order) == sorted(mixed.rows(epoch + 1))
