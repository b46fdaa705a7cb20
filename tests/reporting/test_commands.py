"""Every command that a report prints works where the run was started."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli.main import app

CODE = re.compile(r"`(sweeper [^`]+)`")
SHAPES = ("zero", "one", "all-failed", "none-pruned", "not-finite", "running", "mixed", "text")


def printed(run):
    """The commands of the page and of ``report.md``."""
    parse = sys.modules["page_tree"].parse
    page = parse(run.report_html.read_text())
    code = [element.text for tag in ("pre", "code") for element in page.all(tag)]
    marked = CODE.findall((run.path / "report.md").read_text())
    return {text for text in (*code, *marked) if text.startswith("sweeper ")}


@pytest.fixture
def started_here(reports, monkeypatch):
    """The folder that the runs were started in, with their data; nothing is trained."""
    root = next(iter(reports.values())).path.parents[1]
    rows = [
        {"text": f"a text {n}", "label": "ab"[n % 2], "instruction": f"do {n}", "output": "done"}
        for n in range(60)
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(root)

    def answer(_function, request, *_, **__):
        Path(request.part).write_text('{"text": "a text", "label": "a"}\n')

    monkeypatch.setattr("sweeper.child_process.in_child", answer)
    return root


@pytest.mark.parametrize("shape", SHAPES)
def test_a_printed_command_works_where_the_run_was_started(started_here, reports, shape):
    found = printed(reports[shape])
    assert any(command.startswith("sweeper run ") for command in found)
    for command in sorted(found):
        arguments = shlex.split(command)[1:]
        if arguments[0] == "run":  # all but the training: the file is read, and a plan made of it
            arguments += ["--dry-run", "--backend", "none:none"]
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 0, f"{command}: {ended.output}{ended.exception!r}"


@pytest.mark.parametrize("shape", ["mixed", "text"])
def test_the_model_that_a_report_loads_lies_where_it_says(started_here, reports, shape):
    page = sys.modules["page_tree"].parse(reports[shape].report_html.read_text())
    code = " ".join(element.text for element in page.all("pre"))
    (path,) = re.findall(r"sweeper\.load\((.+?)\)", code)
    assert Path(json.loads(path)).is_dir()
