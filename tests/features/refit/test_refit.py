"""``sweeper refit`` decides what to train before a process is started, and refuses bad input."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from sweeper.errors import UsageError
from sweeper.features.refit import _refit as refit_steps
from sweeper.features.refit.commands import answers
from sweeper.trials import TrialConfig, TrialResult


def test_the_winner_is_trained_for_as_long_as_its_weights_were(make_run):
    run = make_run()
    first, second = refit_steps.requests(run, None, 2, None, all_rows=False)
    number = first.config.number
    config = TrialConfig.read(run.trial(number) / "config.json")
    best = TrialResult.read(run.trial(number) / "result.json").best_rung
    assert first.config.budget.epochs == config.budget.epochs * best / config.budget.rungs
    assert first.config.budget.rungs == best
    assert not first.config.budget.choose_rung
    assert first.config.parameters == config.parameters
    assert [r.config.seed for r in (first, second)] == [config.seed, config.seed + 1]
    assert Path(second.folder) == run.path / "refit" / str(config.seed + 1)


def test_a_finished_refit_is_not_repeated_and_another_folder_is_not_touched(make_run, sweeper):
    run = make_run()
    first, second = refit_steps.requests(run, None, 2, None, all_rows=False)
    Path(first.folder).mkdir(parents=True)
    first.write(Path(first.folder) / "refit.json")
    assert list(refit_steps.unfinished([first, second])) == [second]
    shown = sweeper("refit", str(run.path), "--json").out
    assert TypeAdapter(answers()["refit"]).validate_json(shown)["folders"] == [first.folder]
    Path(second.folder).mkdir()
    with pytest.raises(UsageError):
        refit_steps.unfinished([first, second])


def test_a_run_without_a_completed_trial_is_refused(sweeper, make_run):
    run = make_run()
    for result in run.trials.glob("*/result.json"):
        result.unlink()
    for arguments, told in (((), "no completed trial"), (("--trial", "99"), "has not completed")):
        ran = sweeper("refit", str(run.path), *arguments)
        assert (ran.code, told in ran.err) == (2, True), ran.err
        assert "Traceback" not in ran.err
    assert not (run.path / "refit").exists()
