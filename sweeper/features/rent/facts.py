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
        why = "Cards are compared in place of a plan."
        yield Problem("--rent is given", why, "Ask sweeper plan.", "--rent")
