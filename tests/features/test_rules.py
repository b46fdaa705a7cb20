"""A feature of another package brings facts, rules and parameters into plans and the search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FACTS = """
from sweeper.planning.rulebook.fact import flag

@flag()
def night(scene):
    '''Whether it is night.'''
    return scene.facts.task == "instruction"

FACTS = (night,)
"""
PARAMETERS = """
lamp:
  kind: categorical
  when: {night: true}
  choices: [dark, bright]
  default: bright
  off_value: dark
  source: common practice
  why: A lamp helps at night.
"""
RULES = """
- id: night-warning
  when: {night: true}
  warning: Light the lamp.
  source: common practice
"""
ASK = """
import json
from pathlib import Path
import sweeper
from sweeper.search.search import first_trials
answers = []
for task in ("instruction", "code"):
    plan = sweeper.plan(task=task, model="1B", examples=4000, gpu_memory=24)
    answers.append({
        "lamps": {c.strategy: c.defaults().get("lamp") for c in plan.candidates},
        "warned": [w.rule for w in plan.warnings],
        "starts": [s.parameters | {"strategy": s.strategy} for s in first_trials(plan, 30)],
    })
print(json.dumps(answers))
"""


def package(folder: Path) -> None:
    feature = folder / "others_feature"
    for name, text in {
        "__init__.py": "",
        "facts.py": FACTS,
        "parameters/lamp.yaml": PARAMETERS,
        "rules/55-lamp.yaml": RULES,
    }.items():
        (feature / name).parent.mkdir(parents=True, exist_ok=True)
        (feature / name).write_text(text)
    made = folder / "others-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text("[sweeper.features]\nothers = others_feature\n")


def answers(folder: Path) -> list[dict[str, object]]:
    """What ``ASK`` prints: the answers for an instruction task and one of code."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: list[dict[str, object]] = json.loads(done.stdout)
    return read


def test_rules_parameters_and_facts_of_a_feature(tmp_path: Path) -> None:
    package(tmp_path)
    plan, other = answers(tmp_path)
    lamps, starts = plan["lamps"], plan["starts"]
    assert isinstance(lamps, dict)
    assert isinstance(starts, list)
    assert set(lamps.values()) == {"bright"}
    assert "lora" in lamps
    assert "night-warning" in plan["warned"]  # type: ignore[operator]
    first = next(iter(lamps))
    dark = [start for start in starts if "dark" in start.values()]
    assert [start["strategy"] for start in dark] == [first]
    assert set(other["lamps"].values()) == {None}  # type: ignore[attr-defined]
    assert "night-warning" not in other["warned"]  # type: ignore[operator]
