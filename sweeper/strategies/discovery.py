"""Finds strategies by name: the modules of this folder and the entry points of other packages."""

from __future__ import annotations

import sweeper.strategies as folder
from sweeper.declared.files import STRATEGIES
from sweeper.plugins import find, find_all
from sweeper.strategies.base import Strategy


def strategy(name: str) -> Strategy:
    """The strategy with that name.

    Raises:
        UsageError: There is none; the nearest name is given.
    """
    return find(folder, Strategy, STRATEGIES, name)()


def strategies() -> dict[str, Strategy]:
    """All strategies by name."""
    return {name: kind() for name, kind in find_all(folder, Strategy, STRATEGIES).items()}
