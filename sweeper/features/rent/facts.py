"""Refuses a training that is asked to compare cards."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.errors import Problem
from sweeper.features.rent.options import Options
from sweeper.spec import Spec


def check(spec: Spec, for_run: bool) -> Iterator[Problem]:
    """The problem of a run, which trains on the machine that is there."""
    asked = spec.features.of(Options)
    if for_run and (asked.enabled or asked.prices):
        why = "Cards are compared in place of a plan."
        yield Problem("--rent is given", why, "Ask sweeper plan.", "--rent")
