"""The recipes of CONTRIBUTING that add one file, tried on a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = re.compile(r"For example\s+`(sweeper/[\w/]+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def recipes() -> dict[str, str]:
    """The text of each file that CONTRIBUTING has one add, by its path."""
    return dict(RECIPE.findall((ROOT / "CONTRIBUTING.md").read_text()))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project as a newcomer has it before a recipe."""
    folder = tmp_path / "copy"
    for name in ("sweeper", "search_spaces", "reports"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
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


def test_a_metric_is_one_file(copy, recipes, make, read):
    made = make(trials=10, task="instruction", strategies=("lora", "full"))
    path = "sweeper/metrics/first_word.py"
    add(copy, path, recipes[path])
    compute = (
        "from sweeper.metrics.base import computed;"
        "print(computed('answers', ['Yes sir', 'no', ''], [['Yes'], ['yes', 'no'], ['a']]))"
    )
    assert "'first_word': 0.66" in run(copy, "-c", compute)

    tested = made.path / "test.json"
    test = json.loads(tested.read_text())
    for score in test["scores"]:
        if score.get("generated"):
            score["generated"]["metrics"]["first_word"] = 0.625
    tested.write_text(json.dumps(test))
    run(copy, "-m", "sweeper.cli.main", "report", str(made.path))
    table = read(made).one("table", id="tested")
    assert "first word" in table.text
    assert "62.5" in table.text


def test_a_data_format_is_one_file(copy, recipes, tmp_path):
    row = {"choices": ["red", "blue"], "correct": "blue"}
    rows = [json.dumps({"question": f"Colour {n}?", **row}) for n in range(60)]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(rows))
    path = "sweeper/data/formats/choices.py"
    add(copy, path, recipes[path])
    words = ("-m", "sweeper.cli.main", "plan", "--task", "instruction", "--model", "7B")
    said = " ".join(run(copy, *words, "--data", str(data), "--verbose").split())
    assert "Format choices (" in said
    assert "`question` is the question, `choices` is the choices" in said
    example = (
        "from sweeper.data.load import load_corpus; from sweeper.spec import DataSpec;"
        f"print([m.content for m in load_corpus({str(data)!r}, DataSpec())[0].messages])"
    )
    assert "?\\n- red\\n- blue', 'blue']" in run(copy, "-c", example)


def test_a_section_is_one_file(copy, recipes, make):
    made = make(trials=6)
    path = "sweeper/reporting/sections/rarest_class.py"
    add(copy, path, recipes[path])
    run(copy, "-m", "sweeper.cli.main", "report", str(made.path))
    page = made.report_html.read_text()
    assert 'id="rarest-class"' in page
    assert 'href="#rarest-class"' in page
