"""Every file of a finished run cut, filled with garbage, gone, or a folder: commands that read it
end well or name the file, and never show a traceback."""

import re
import shutil
import sys

import make_run as maker
import pytest

from sweeper.cli.main import main
from sweeper.errors import UsageError
from sweeper.processes import report_maker
from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialResult

DAMAGE = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "garbage": lambda whole: b"\0\xff{[garbage" * 20,
    "deep": lambda whole: b"[" * 100_000,
    "null": lambda whole: b"null",
    "gone": lambda whole: None,
}
COMMANDS = [("show", "x"), ("show", "x", "--json"), ("list",)]
# What takes longest is tried on what it reads.
EXPLAINED = ("plan.json", "sweep.yaml")
SHOWN = (*EXPLAINED, "status.json", "findings.json")
WRITTEN = ("report.html", "report.md", "report.json", "findings.json", "MODEL_CARD.md")


def commands(path, damage):
    """Those that may read this file; once, all others as well.

    What every report writes again is damaged in one way alone.
    """
    again = path.name in WRITTEN or path.suffix == ".csv"
    if not again:
        yield ("report", "x")
    if path.name in EXPLAINED:
        yield ("explain", "x")
    if (path.name in SHOWN and not again) or damage == "garbage":
        yield from COMMANDS


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder with its report, in a folder of runs."""
    root = tmp_path_factory.mktemp("damaged") / "runs"
    run = maker.make_run(root, maker.Shape(name="x"), trials=1, prune=False, seeds=2, finalists=1)
    run.spec.write_text("name: x\ntask: classification\nmodel: packaged:minilm\ndata: x.jsonl\n")
    write_report(run, report_of(run, "not here"))
    return run.path


@pytest.fixture
def call(finished, monkeypatch, capsys):
    """Runs a command in this process: exit code and all that it said."""
    monkeypatch.chdir(finished.parent.parent)

    class Here(report_maker.ReportMaker):
        """Computes what a report says; the page of damaged files is the page of fewer files."""

        def finish(self, *_args, **_options):
            return report_of(self.folder)

    monkeypatch.setattr(report_maker, "ReportMaker", Here)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sweeper", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return run


def test_every_file_of_a_run_may_be_damaged(finished, call):
    files = sorted(path for path in finished.rglob("*") if path.is_file())
    assert {"plan.json", "status.json", "findings.json", "result.json", "sweep.yaml"} <= {
        path.name for path in files
    }
    for path in files:
        whole = path.read_bytes()
        for damage, change in DAMAGE.items():
            content = change(whole)
            path.unlink() if content is None else path.write_bytes(content)
            for command in commands(path, damage):
                code, said = call(*command)
                assert "Traceback" not in said
                assert code == 0 or (code == 2 and path.name in said), (path, damage, command, said)
            path.write_bytes(whole)


@pytest.mark.parametrize("loss", ["1e308", "-1e308", "1e39999"])
def test_a_loss_that_no_model_computes_is_damage(finished, call, loss):
    files = [path for path in finished.rglob("*") if path.name in ("result.json", "rungs.jsonl")]
    whole = {path: path.read_text() for path in files}
    for path, text in whole.items():
        path.write_text(re.sub(r'("\w*loss": ?)[\d.e+-]+', rf"\g<1>{loss}", text))
    assert any(loss in path.read_text() for path in files)
    with pytest.raises(UsageError):
        TrialResult.read(next(path for path in files if path.name == "result.json"))
    for command in (("report", "x"), *COMMANDS):
        code, said = call(*command)
        assert "Traceback" not in said
        assert code in (0, 2)
    for path, text in whole.items():
        path.write_text(text)


def test_a_file_that_cannot_be_written_is_named(finished, call, monkeypatch):
    class Unwritable(report_maker.ReportMaker):
        def finish(self, *_args, **_options):
            self.no_charts = "not here"
            return self._make_in_this_process()

    monkeypatch.setattr(report_maker, "ReportMaker", Unwritable)
    run = RunFolder(finished)
    whole = run.report_html.read_bytes()
    run.report_html.unlink()
    run.report_html.mkdir()
    code, said = call("report", "x")
    shutil.rmtree(run.report_html)
    run.report_html.write_bytes(whole)
    assert code == 2
    assert "report.html: Is a directory" in said
