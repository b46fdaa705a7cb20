from __future__ import annotations

from pathlib import Path

import pytest
from configs import config_of
from curve_backend import make_plan

from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import attempt_folder
from sweeper.runfolder import RUNGS, SCORE, RunFolder
from sweeper.trials import (
    AttemptEndKind,
    Failure,
    RungReport,
    TestScore,
    TrialConfig,
    TrialResult,
)


def a_config(attempt: int = 1) -> TrialConfig:
    plan = make_plan()
    candidate = plan.candidate("lora")
    defaults = candidate.defaults()
    return config_of(plan, candidate, defaults, number=3, attempt=attempt, origin="search")


def a_rung(rung: int, attempt: int = 1, **fields: object) -> RungReport:
    known = {
        "number": 3, "attempt": attempt, "rung": rung, "validation_loss": 1.0 / rung, "items": 1,
        "optimizer_steps": 10 * rung, "epochs": 1, "tokens": 100 * rung, "training_seconds": rung,
        "evaluation_seconds": 0.5,
    }  # fmt: skip
    return RungReport.model_validate({**known, **fields})


def a_result(attempt: int = 1, **fields: object) -> TrialResult:
    known = {"number": 3, "attempt": attempt, "seed": 0, "state": "COMPLETE"}
    return TrialResult.model_validate({**known, "validation_loss": 0.5, **fields})


def begun(home: Path) -> Path:
    """An attempt of two rungs."""
    number = attempts.new_attempt(home)
    attempts.begin(home, a_config(number))
    for rung in (1, 2):
        attempts.add_rung(home, a_rung(rung, number))
    return attempt_folder(home, number)


def test_numbers_of_attempts_are_never_used_twice(tmp_path: Path) -> None:
    assert [attempts.new_attempt(tmp_path) for _ in range(2)] == [1, 2]
    (tmp_path / "attempts" / "7").mkdir()
    (tmp_path / "attempts" / "notes").mkdir()
    assert attempts.new_attempt(tmp_path) == 8
    assert attempts.attempts_of(tmp_path) == [1, 2, 7, 8]


def test_an_attempt_begins_with_the_rungs_of_its_checkpoint_and_no_others(tmp_path: Path) -> None:
    begun(tmp_path)
    number = attempts.new_attempt(tmp_path)
    attempts.begin(tmp_path, a_config(number), [a_rung(1, number)])
    for folder in (tmp_path, attempt_folder(tmp_path, number)):
        assert [(one.rung, one.attempt) for one in RungReport.read_lines(folder / RUNGS)] == [
            (1, 2)
        ]
        assert TrialConfig.read(folder / "config.json").attempt == 2
    assert len(RungReport.read_lines(attempt_folder(tmp_path, 1) / RUNGS)) == 2


def test_lines_of_a_curve_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with (folder / "rungs.jsonl").open("ab") as file:
        file.write(b'\0\0\n{}\n\xff\xfe\n{"number": 3, "att')
    assert [one.rung for one in RungReport.read_lines(folder / RUNGS)] == [1, 2]
    assert RungReport.read_lines(tmp_path / "nowhere" / RUNGS) == []


def test_promoting_makes_all_files_the_trials_again_and_again(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (folder / "item_losses.json").write_text("{}")
    (folder / "weights").mkdir()
    (folder / "weights" / "adapter.bin").write_text("new")
    a_result(weights="weights").write(folder / "result.json")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "adapter.bin").write_text("old")
    for _ in range(2):
        assert attempts.promote(tmp_path, 1).validation_loss == 0.5
        assert (tmp_path / "weights" / "adapter.bin").read_text() == "new"
        assert (tmp_path / "item_losses.json").exists()
        assert TrialResult.read(tmp_path / "result.json").attempt == 1


def test_a_result_that_comes_after_its_attempt_was_abandoned_is_none(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    a_result().write(folder / "result.json")
    assert attempts.complete_result(tmp_path, 1) is not None
    attempts.note_end(folder, "interrupted", "its machine is gone")
    assert attempts.complete_result(tmp_path, 1) is None


def test_the_first_reason_stays_unless_a_later_one_says_more(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    attempts.note_end(folder, "hang", "no step", worker="2")
    assert attempts.note_end(folder, "crash", "ended with status 70").kind == "hang"
    assert attempts.note_end(folder, "damaged", "x", replace=True).kind == "damaged"


def test_weights_of_an_attempt_are_deleted_wherever_they_lie(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    for place in (folder / "weights", folder / "inner" / "weights"):
        place.mkdir(parents=True)
    attempts.drop_leftovers(folder)
    assert not list(folder.rglob("weights"))
    assert (folder / "rungs.jsonl").exists()


def test_a_failed_trial_keeps_what_its_last_attempt_had_done(tmp_path: Path) -> None:
    begun(tmp_path)
    failure = Failure(kind="crash", detail="killed")
    result = attempts.fail(tmp_path, 3, 1, failure)
    assert (result.number, result.state, result.failure) == (3, "FAIL", failure)
    assert (result.optimizer_steps, result.tokens, result.training_seconds) == (20, 200, 2.0)
    for path in tmp_path.rglob("config.json"):
        path.write_text("{")
    assert attempts.fail(tmp_path, 3, 1, failure).number == 3


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([], None),
        (["crash", "hang"], None),
        (["crash", "interrupted", "out-of-memory", "disk-full", "error"], None),
        (["damaged", "damaged", "damaged"], "error"),
        (["crash", "hang", "error"], "error"),
        (["error", "crash", "hang"], "timeout"),
        (["hang", "error", "interrupted", "crash"], "crash"),
        (["out-of-memory"] * 5, None),
    ],
)
def test_three_attempts_that_are_crashes_end_a_task(
    tmp_path: Path, ends: list[AttemptEndKind], expected: str | None
) -> None:
    run = RunFolder(tmp_path)
    for end in ends:
        attempts.note_end(begun(run.trial(3)), end, f"a {end}")
    found = work_items.failure(run, work_items.trial(3))
    assert (found.kind if found else None) == expected
    if found is not None:
        assert found.detail == f"a {ends[-1]}"


def test_an_attempt_of_one_example_that_ran_out_of_memory_ends_a_task(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    folder = begun(run.trial(3))
    small = a_config().with_setup(micro_batch=1, evaluation_batch=1)
    small.write(folder / "config.json")
    attempts.note_end(folder, "out-of-memory", "the system killed worker 0")
    found = work_items.failure(run, work_items.trial(3))
    assert found == Failure(kind="out-of-memory", detail="the system killed worker 0")


def test_tasks_have_homes_names_and_titles_of_their_own() -> None:
    every = [
        work_items.BASELINES,
        work_items.trial(3),
        work_items.confirm(3, 7),
        work_items.score_trial(3),
        work_items.score_trial(3, 7),
        work_items.score_baseline("tfidf"),
    ]
    assert [item.home for item in every] == [
        "jobs/baselines",
        "trials/3",
        "trials/3/seeds/7",
        "jobs/trial-3",
        "jobs/trial-3-seed-7",
        "jobs/tfidf",
    ]
    assert [item.title for item in every] == [
        "baselines",
        "trial 3",
        "trial 3 with seed 7",
        "the score of trial-3",
        "the score of trial-3-seed-7",
        "the score of tfidf",
    ]
    assert work_items.training_scored_by(work_items.score_trial(3, 7)) == work_items.confirm(3, 7)
    assert work_items.training_scored_by(work_items.score_trial(3)) == work_items.trial(3)


def test_baselines_are_done_when_all_that_were_scored_can_be_read(tmp_path: Path) -> None:
    from sweeper.trials import BaselineResult

    run = RunFolder(tmp_path)
    assert not work_items.is_done(run, work_items.BASELINES)
    for name in ("majority", "tfidf"):
        BaselineResult(name=name, title=name).write(run.baselines / f"{name}.json")
    assert not work_items.is_done(run, work_items.BASELINES)  # perhaps more were to come
    work_items.note_baselines(run)
    assert work_items.is_done(run, work_items.BASELINES)
    (run.baselines / "tfidf.json").write_text("{")
    assert not work_items.is_done(run, work_items.BASELINES)


def test_a_score_that_was_left_in_its_attempt_is_taken(tmp_path: Path) -> None:
    run, item = RunFolder(tmp_path), work_items.score_trial(3)
    attempts.new_attempt(run.path / item.home)
    folder = attempt_folder(run.path / item.home, 1)
    score = TestScore(name="trial-3", metrics={}, items_sha256="", item_scores=(1.0,))
    score.write(folder / SCORE)
    work_items.end_open_attempt(run, item)
    assert TestScore.read_or_none(work_items.score_file(run, item)) == score
    assert attempts.read_end(folder) is None


def test_an_attempt_that_broke_off_gets_its_end_when_the_next_call_looks(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    folder = begun(run.trial(3))
    (folder / "weights").mkdir()
    work_items.end_open_attempt(run, work_items.trial(3))
    end = attempts.read_end(folder)
    assert end is not None
    assert end.kind == "interrupted"
    assert not (folder / "weights").exists()
