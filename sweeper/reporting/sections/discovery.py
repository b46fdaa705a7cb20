"""Finds the sections of the page: the functions of this folder that ``section`` marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps

import sweeper.reporting.sections as folder
from sweeper.plugins import values_in
from sweeper.reporting.blocks import Block, Section
from sweeper.reporting.document import Report

Build = Callable[[Report], Section | None]

_PLACE = "section_place"


def section(
    place: int, name: str, title: str, question: str
) -> Callable[[Callable[[Report], Iterable[Block]]], Build]:
    """Mark a function that gives the blocks of one section, or none to leave it out.

    Args:
        place: Sections come in the order of their places, which are the order of a reader's
            questions. No two have the same.
        name: Its id on the page.
        title: What links to it are called.
    """

    def marked(blocks: Callable[[Report], Iterable[Block]]) -> Build:
        @wraps(blocks)
        def build(report: Report) -> Section | None:
            found = tuple(blocks(report))
            return Section(name, title, question, found) if found else None

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
