"""A copy of the project to which a test adds a file of a recipe in CONTRIBUTING."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_RECIPE = re.compile(r"For example\s+`(sweeper/[\w/]+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)


def recipes() -> dict[str, str]:
    """The text of each file that CONTRIBUTING has one add, by its path."""
    return dict(_RECIPE.findall((ROOT / "CONTRIBUTING.md").read_text()))


def copied(folder: Path) -> Path:
    """The project as a newcomer has it before a recipe."""
    for name in ("sweeper", "search_spaces", "reports"):
        shutil.copytree(ROOT / name, folder / name)  # with compiled modules: compiling takes 3 s
    return folder


def run(copy: Path, *words: str) -> str:
    """What Python prints in the copy."""
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def add(copy: Path, path: str, text: str) -> None:
    """Do what the recipe says, and see that the copy is the one that is loaded."""
    (copy / path).write_text(text)
    assert Path(run(copy, "-c", "import sweeper; print(sweeper.__path__[0])").strip()) == (
        copy / "sweeper"
    )
