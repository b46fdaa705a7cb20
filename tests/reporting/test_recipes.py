"""The recipes of CONTRIBUTING that add one file, tried on a copy of the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipe_copy import add, copied, recipes, run


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project as a newcomer has it before a recipe."""
    return copied(tmp_path / "copy")


def test_a_metric_is_one_file(copy, make, read):
    made = make(trials=10, task="instruction", strategies=("lora", "full"))
    path = "sweeper/metrics/first_word.py"
    add(copy, path, recipes()[path])
    compute = (
        "from sweeper.metrics.metric import compute_metrics;"
        "print(compute_metrics('answers', ['Yes sir', 'no', ''], [['Yes'], ['yes', 'no'], ['a']]))"
    )
    assert "'first_word': 0.66" in run(copy, "-c", compute)

    tested = made.path / "test.json"
    test = json.loads(tested.read_text())
    for score in test["scores"]:
        if score.get("generated"):
            score["generated"]["metrics"]["first_word"] = 0.625
    tested.write_text(json.dumps(test))
    run(copy, "-m", "sweeper", "report", str(made.path))
    table = read(made).one("table", id="tested")
    assert "first word" in table.text
    assert "62.5" in table.text


def test_a_data_format_is_one_file(copy, tmp_path):
    row = {"choices": ["red", "blue"], "correct": "blue"}
    rows = [json.dumps({"question": f"Colour {n}?", **row}) for n in range(60)]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(rows))
    path = "sweeper/data/formats/choices.py"
    add(copy, path, recipes()[path])
    words = ("-m", "sweeper", "plan", "--task", "instruction", "--model", "7B")
    said = " ".join(run(copy, *words, "--data", str(data), "--verbose").split())
    assert "Format choices (" in said
    assert "`question` is the question, `choices` is the choices" in said
    example = (
        "from sweeper.data.load import load_corpus; from sweeper.spec import DataSpec;"
        f"print([m.content for m in load_corpus({str(data)!r}, DataSpec())[0].messages])"
    )
    assert "?\\n- red\\n- blue', 'blue']" in run(copy, "-c", example)
