"""The real command: predictions before the first trial, scores once, a line in the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import PATHS, Sweeper, ended_after

from sweeper.features.ledger import section
from sweeper.features.ledger._predictions import Predictions, RunScores
from sweeper.features.ledger.phase import begin, finish
from sweeper.plans import Plan
from sweeper.reporting.document import Report
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.specfile import resolve


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Sweeper:
    """A run that has ended, with its own cache folder."""
    folder = tmp_path_factory.mktemp("ledger")
    made = Sweeper(folder / "runs" / "secret-name")
    with pytest.MonkeyPatch.context() as patch, ended_after(made):
        patch.setenv("SWEEPER_HOME", str(folder / "home"))
        patch.setenv("PYTHONPATH", PATHS)
        made.finish(6)
    return made


def files_of(run: RunFolder) -> tuple[Path, Path]:
    folder = run.feature("ledger")
    return folder / "predictions.json", folder / "scores.json"


def kept(ended: Sweeper) -> list[Path]:
    return sorted((ended.place / "home" / "ledger").glob("*/*"))


def test_predictions_are_older_than_the_first_trial_and_each_has_a_score(ended: Sweeper) -> None:
    before, after = files_of(ended.run)
    first = min(path.stat().st_mtime for path in ended.run.trials.glob("*/config.json"))
    assert before.stat().st_mtime <= first
    predictions, scores = Predictions.read(before), RunScores.read(after)
    keys = [(one.kind, one.strategy, one.rule, one.value) for one in predictions.predictions]
    assert keys == [(one.kind, one.strategy, one.rule, one.value) for one in scores.scored]
    assert {"memory", "trial-time", "sweep-time", "strategy-gap", "best-strategy"} <= {
        one.kind for one in scores.scored
    }
    assert all((one.held is None) == (one.open is not None) for one in scores.scored)
    assert [path.stem for path in kept(ended)] == [predictions.id]


def test_the_fourth_screen_has_one_line_with_those_missed(ended: Sweeper) -> None:
    report = Report.read(ended.run.report)
    figures = report.figures("predictions", section.Figures)
    assert figures is not None
    missed = [one for one in figures.judged if not one.held]
    (line,) = [text for text in report.confidence if "predictions" in text]
    assert line.startswith(f"{len(figures.judged) - len(missed)} of {len(figures.judged)} ")
    for one in missed:
        assert section._title(one) in line


def test_a_resumed_run_scores_nothing_again(
    ended: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(ended.place / "home"))
    before = {path: path.read_bytes() for path in (*files_of(ended.run), *kept(ended))}
    ended.finish(7)
    assert {path: path.read_bytes() for path in before} == before
    assert kept(ended) == [path for path in before if path.parents[2].name == "home"]
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(ended.run.path, copy.path)
    files_of(copy)[1].unlink()
    finish(copy, resolved(copy), Plan.read(copy.plan), [].append)
    assert files_of(copy)[1].exists()
    assert len(kept(ended)) == 1


def test_a_ledger_that_cannot_be_written_stops_no_run(
    ended: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger").write_text("")  # where the folder should be
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(ended.run.path, copy.path)
    files_of(copy)[1].unlink()
    finish(copy, resolved(copy), Plan.read(copy.plan), [].append)
    assert files_of(copy)[1].exists()


def resolved(run: RunFolder) -> Spec:
    return resolve({}, run.spec)


def test_predictions_are_never_written_after_a_trial(ended: Sweeper, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(ended.run.path, copy.path)
    for path in files_of(copy):
        path.unlink()
    plan = Plan.read(copy.plan)
    begin(copy, resolved(copy), plan)
    finish(copy, resolved(copy), plan, [].append)
    assert [path.exists() for path in files_of(copy)] == [False, False]


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"id": "../../x"}', b"[" * 100_000])
def test_damaged_files_of_a_run_stop_nothing_and_the_report_names_them(
    ended: Sweeper, tmp_path: Path, content: bytes
) -> None:
    copy = RunFolder(tmp_path / "runs" / "copy")
    shutil.copytree(ended.run.path, copy.path)
    before, after = files_of(copy)
    before.write_bytes(content)
    after.write_bytes(content)
    plan = Plan.read(copy.plan)
    begin(copy, resolved(copy), plan)
    finish(copy, resolved(copy), plan, [].append)
    assert before.read_bytes() == after.read_bytes() == content
    from sweeper.reporting.compose import report_of

    report = report_of(copy, "no charts")
    assert str(after) in report.missing["predictions"].reason
    assert report.figures("predictions", section.Figures) is None


def test_the_command_shows_and_exports_what_names_nothing(
    ended: Sweeper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeper.cli.main import app

    monkeypatch.setenv("SWEEPER_HOME", str(ended.place / "home"))
    app(["ledger", "--json"], standalone_mode=False)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema_version"], shown["runs"], shown["damaged"]) == (1, 1, [])
    assert {one["kind"] for one in shown["kinds"]} >= {"memory", "sweep-time"}
    app(["ledger"], standalone_mode=False)
    assert "sweep-time" in capsys.readouterr().out
    target = ended.place / "out.json"
    broken = kept(ended)[0].with_name("broken.json")
    broken.write_text("{")
    app(["ledger", "--export", str(target)], standalone_mode=False)
    broken.unlink()
    assert "broken.json" in capsys.readouterr().err
    text = target.read_text()
    for private in ("secret-name", "rows.jsonl", "minilm", str(ended.place), "fruit", "/"):
        assert private not in text
    assert kept(ended)[0].parent.name not in text
    assert len(json.loads(text)["entries"]) == 1
