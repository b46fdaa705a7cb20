"""The promise of the data curve on recorded trainings."""

from __future__ import annotations

from benchmarks.data_curve.__main__ import judge, read


def test_the_promise_for_all_rows_holds_in_nine_of_ten_recorded_repeats() -> None:
    lines = [line for name, trainings in read().items() if (line := judge(name, trainings))]
    assert len(lines) == 12
    assert sum(line.held for line in lines) >= 0.9 * sum(line.of for line in lines)
    assert max(line.width for line in lines) <= 2


def test_a_set_of_too_few_seeds_is_not_judged() -> None:
    name, trainings = next(iter(read().items()))
    assert judge(name, [one for one in trainings if one.seed < 3]) is None
