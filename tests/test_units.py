"""Numbers as people read them; further examples are the module's doctests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper import units


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_is_written_without_an_exception(value):
    for write in (units.number, units.rate, units.duration, units.gib):
        assert write(value)


@pytest.mark.parametrize("value", [0.8912, 12.345, 99999.0, 0.0123])
def test_three_significant_digits_are_kept(value):
    assert float(units.number(value).replace(",", "")) == pytest.approx(value, rel=5e-3)
