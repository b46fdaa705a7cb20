"""What a run prints where nothing is redrawn, and what it prints after a resume."""

from __future__ import annotations

import re

from commands import Sweeper

FAST = {"CURVE_STEP_SECONDS": "0.002"}


def trials(printed: str) -> list[str]:
    """The trials that have a line, in their order."""
    return re.findall(r" trial=(\d+) state=", printed)


def test_each_trial_has_one_line_and_none_again_after_a_resume(sweeper: Sweeper) -> None:
    _, out, first = sweeper.ended(2, **FAST)
    assert sorted(trials(first)) == ["0", "1"]
    assert len(re.findall(r"Z plan ", first)) == 1
    _, again, second = sweeper.ended(4, **FAST)
    assert sorted(trials(second)) == ["2", "3"]
    assert "state=running" not in first + second
    for printed in (out, again):
        assert len(re.findall(r"^report: ", printed, re.MULTILINE)) == 1
        assert printed.count("Next: ") == 1
