"""Finds the sections of the report: those of the core in ``sections/``, and those of features."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

import sweeper.reporting.sections as folder
from sweeper.features import loader
from sweeper.features.parts import HEADING


@cache
def sections() -> tuple[ModuleType, ...]:
    """The modules of all sections in their order.

    Raises:
        ValueError: Two sections have the same order or id.
    """
    names = (module.name for module in pkgutil.iter_modules(folder.__path__))
    core = (importlib.import_module(f"{folder.__name__}.{n}") for n in names if n[0] != "_")
    return in_order(
        [*core, *(feature.load("section") for feature in loader.features_with("section"))]
    )


def in_order(modules: list[ModuleType]) -> tuple[ModuleType, ...]:
    """Sections in their order.

    Raises:
        ValueError: Two sections have the same order or id.
    """
    by_key: dict[object, ModuleType] = {}
    for module in modules:
        heading = HEADING.required(module)
        for key in (heading.order, heading.id):
            if (other := by_key.setdefault(key, module)) is not module:
                both = f"{other.__name__} and {module.__name__}"
                raise ValueError(f"{both} have the same order or id in the report: {key}")
    return tuple(sorted(modules, key=lambda module: HEADING.required(module).order))
