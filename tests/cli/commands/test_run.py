from __future__ import annotations

from typing import Any

from sweeper.cli.commands.run import conclude
from sweeper.execution.coordinator import RunOutcome
from sweeper.findings.verdict.next_step import next_step_line
from sweeper.reporting.compose import report_of
from sweeper.spec import ModelSpec, Spec
from sweeper.steps.sweep import Ended


def test_the_last_lines_of_a_run_say_what_next(make_run: Any, capsys: Any) -> None:
    run = make_run()
    made = report_of(run)
    found = made.findings
    assert found.next_step is not None
    spec = Spec(task="classification", models=(ModelSpec(id="packaged:minilm"),))
    ended = Ended(spec, run, RunOutcome("complete", status=None), made)
    conclude(ended, as_json=False, fail_under=None)
    *_, line, command, report = capsys.readouterr().out.splitlines()
    assert line == next_step_line(found.next_step)
    assert command == f"  {found.next_step.command}"
    assert report.startswith("report: ")
