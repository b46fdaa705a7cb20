"""Refuses to compare cards in a run."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.errors import Problem
from sweeper.features.rent.options import Options
from sweeper.spec import Spec


def check(spec: Spec, for_run: bool) -> Iterator[Problem]:
    """A problem if a run is asked to compare cards."""
    options = spec.features.of(Options)
    if for_run and (options.enabled or options.prices):
        why = "The comparison takes the place of a plan."
        fix = "Use sweeper plan --rent, or leave out --rent and --rent-price."
        yield Problem("a run cannot compare cards to rent", why, fix, "--rent")
