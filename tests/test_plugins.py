"""Parts are found by the name of their module; strategies and tasks show how."""

import sweeper.tasks
from sweeper.plugins import find_all
from sweeper.tasks.classification import Classification
from sweeper.tasks.task import ENTRY_POINTS, Task, task


def test_tasks_are_found_by_folder():
    assert task("classification") is Classification
    found = find_all(sweeper.tasks, Task, ENTRY_POINTS)
    assert {"classification", "instruction"} <= found.keys()
    assert all(issubclass(kind, Task) and kind.name == name for name, kind in found.items())
