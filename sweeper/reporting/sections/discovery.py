"""Finds the sections of the page: the functions of this folder that ``section`` marks."""

from __future__ import annotations

from collections.abc import Callable

import sweeper.reporting.sections as folder
from sweeper.plugins import values_in
from sweeper.reporting.blocks import Section
from sweeper.reporting.document import Report

Build = Callable[[Report], Section | None]

_PLACE = "section_place"


def section(place: int) -> Callable[[Build], Build]:
    """Mark a function that builds one section, or None where the report has nothing for it.

    Args:
        place: Sections come in the order of their places, which are the order of a reader's
            questions. No two have the same.
    """

    def marked(build: Build) -> Build:
        setattr(build, _PLACE, place)
        return build

    return marked


def sections() -> list[Build]:
    """All sections in their order.

    Raises:
        ValueError: Two have one place.
    """
    builds: dict[int, Build] = {}
    for value in values_in(folder):
        place = getattr(value, _PLACE, None)
        if place is not None and builds.setdefault(place, value) is not value:
            both = f"{builds[place].__name__} and {value.__name__}"
            raise ValueError(f"{both} have the same place {place} in the report")
    return [builds[place] for place in sorted(builds)]
