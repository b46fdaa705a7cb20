"""Objectives that have no data curve."""

from __future__ import annotations

from pathlib import Path

from sweeper.features.data_curve.facts import check
from sweeper.specfile import resolve

TEXT = """\
task: classification
model: 7B
objective: {name: 'costs:saved', direction: maximize}
features:
  data_curve: {enabled: true}
"""


def test_a_curve_of_a_function_is_refused_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(TEXT)
    (problem,) = check(resolve({}, file), for_run=False)
    assert problem.where == f"{file}:5 features.data_curve.enabled"
    file.write_text(TEXT.replace("true", "false"))
    assert list(check(resolve({}, file), for_run=False)) == []
