"""Finds tasks by name: the modules of this folder and the entry points of other packages."""

from __future__ import annotations

import sweeper.tasks as folder
from sweeper.plugins import find
from sweeper.spec import Spec
from sweeper.tasks.base import Task

ENTRY_POINTS = "sweeper.tasks"


def task(name: str) -> type[Task]:
    """The task with that name.

    Raises:
        UsageError: There is none; the nearest name is given.
    """
    return find(folder, Task, ENTRY_POINTS, name)


def task_of(spec: Spec) -> type[Task]:
    """The task that a spec asks for, in the form that it asks for.

    Raises:
        UsageError: There is none of that name.
    """
    by_name = spec.task == "classification" and spec.training.classes_by == "generate"
    return task("generate_label" if by_name else spec.task)
