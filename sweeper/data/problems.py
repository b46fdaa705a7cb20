"""Collects the problems of a data set, so that all are reported at once."""

from __future__ import annotations

import shlex

from sweeper.errors import DataError, Problem

SHOWN = 10
"""Problems that are printed; the others are counted. A screen holds about ten of three lines."""


class Problems:
    """Problems found so far."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, what: str, why: str = "", fix: str = "", where: str = "") -> None:
        self._found.append(Problem(what, why, fix, where))

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            DataError: With the first problems, and how many more there are.
        """
        if not self._found:
            return
        shown = self._found[:SHOWN]
        if more := len(self._found) - len(shown):
            shown.append(Problem(f"and {more} more problems like these"))
        raise DataError(shown)


def listing(items: list[str] | tuple[str, ...], limit: int = 8) -> str:
    """Items for a sentence, the tail counted.

    >>> listing(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(items[:limit])
    more = len(items) - limit
    return f"{shown} and {more} more" if more > 0 else shown


def fix_command(name: str, *flags: str) -> str:
    """The command that fixes a data set.

    >>> fix_command("my rows.csv", "--all-safe")
    "sweeper data fix 'my rows.csv' --all-safe -o NEW"
    """
    return f"sweeper data fix {shlex.join((name, *flags))} -o NEW"
