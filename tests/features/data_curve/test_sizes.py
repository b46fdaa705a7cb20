"""The sizes of the parts."""

from sweeper.features.data_curve.facts import part_sizes


def test_parts_of_a_few_rows_are_left_out():
    assert part_sizes(800) == (100, 200, 400)
    assert part_sizes(100) == (25, 50)
    assert part_sizes(40) == ()
