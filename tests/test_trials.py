from __future__ import annotations

import pytest

from sweeper.trials import within_limit


@pytest.mark.parametrize(
    ("lost", "limit", "within"),
    [(2.0, 2.0, True), (2.1, 2.0, False), (-1.0, 0.0, True), (9.0, None, True), (None, 2.0, True)],
)
def test_what_was_not_measured_is_within_any_limit(
    lost: float | None, limit: float | None, within: bool
) -> None:
    assert within_limit(lost, limit) is within
