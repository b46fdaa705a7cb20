"""One name for one thing: a class is found by searching for its name."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import sweeper

# Names that the contract of features gives: every feature may have one of each.
OF_PARTS = {"Options", "Figures"}
# Folders whose files are found by their names: of a command, a section, a task and so on.
FOUND_BY_NAME = {
    "cli/commands", "reporting/sections", "tasks", "metrics", "strategies", "data/formats",
}  # fmt: skip


def test_no_two_public_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for file in Path(sweeper.__file__).parent.rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(names) > 300
    assert [name for name, count in names.items() if count > 1 and name not in OF_PARTS] == []


def test_no_two_modules_of_the_core_have_one_name() -> None:
    root = Path(sweeper.__file__).parent
    modules = Counter(
        file.stem
        for file in root.rglob("*.py")
        if not file.is_relative_to(root / "features")
        and file.parent.relative_to(root).as_posix() not in FOUND_BY_NAME
        and not file.stem.startswith("__")
    )
    assert len(modules) > 200
    assert [name for name, count in modules.items() if count > 1] == []
