"""The real command, where a search ends before its last trial: at a target, or settled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Sweeper, ended_after
from optuna.trial import TrialState

from sweeper.execution.state.status import Status
from sweeper.findings.findings import Findings

pytestmark = pytest.mark.usefixtures("preloaded")


class Flagged(Sweeper):
    """The command with further flags."""

    more = ""

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        return [*super().command(trials, workers, seed), *self.more.split()]


@pytest.fixture
def sweeper(tmp_path: Path) -> Iterator[Flagged]:
    made = Flagged(tmp_path / "runs" / "run")
    with ended_after(made):
        yield made


def ended(sweeper: Sweeper) -> list[int]:
    return [one.number for one in sweeper.trials() if one.state.is_finished()]


def test_the_first_trial_at_the_target_ends_the_search_until_more_is_asked_for(sweeper) -> None:
    sweeper.more = "--target-loss 0.5"
    printed = sweeper.finish(12)
    last = ended(sweeper)[-1]
    reached = [one for one in sweeper.trials() if one.state == TrialState.COMPLETE][-1]
    assert reached.number == last < 11
    assert reached.value <= 0.5
    why = f"trial {last} reached a validation loss of {reached.value:.4g}, and 0.5 was the target"
    ends = f"the search ends after {last + 1} of 12 trials: {why}"
    assert ends[1:] in printed
    status = Status.read(sweeper.run.status)
    assert (status.phase, status.search_ended, status.waiting) == ("complete", ends, 0)
    findings = Findings.read(sweeper.run.findings)
    assert findings.run.status == "complete"
    assert findings.run.search_ended == ends
    assert ends[1:] in findings.run.search_ended
    assert sweeper.events("search-ended") == [ends]

    sweeper.finish(12)
    assert ended(sweeper)[-1] == last

    sweeper.more = ""
    assert ends[1:] not in sweeper.finish(12)
    assert ended(sweeper) == list(range(12))
    assert Status.read(sweeper.run.status).search_ended == ""


def test_a_search_that_has_settled_stays_ended_and_goes_on_when_told_to(sweeper) -> None:
    sweeper.more = "--stop-when-settled"
    noise = {"CURVE_NOISE": "0.05"}
    printed = sweeper.finish(60, workers=2, **noise)
    count = len(ended(sweeper))
    assert 10 <= count < 60
    assert ended(sweeper) == list(range(count))
    assert "5 more trials are expected to lower the best loss by" in printed
    assert f"after {count} of 60 trials" in Status.read(sweeper.run.status).search_ended
    trained = len(sweeper.lines("trained.log"))

    sweeper.finish(60, **noise)
    assert len(sweeper.lines("trained.log")) == trained

    sweeper.more = ""
    sweeper.finish(count + 1, **noise)
    assert len(ended(sweeper)) == count + 1


def test_a_kill_after_the_ending_leaves_it_in_force(sweeper) -> None:
    sweeper.more = "--target-loss 0.5"
    popen = sweeper.start(12, CURVE_STEP_SECONDS="0.02")
    sweeper.wait_for(lambda: sweeper.events("search-ended"))
    popen.kill()
    popen.communicate()
    sweeper.wait_for(lambda: not sweeper.workers())
    count = len(list(sweeper.run.trials.glob("*/result.json")))  # the storage may be behind
    sweeper.finish(12)
    assert len(ended(sweeper)) == count
    assert json.loads((sweeper.folder / "test.json").read_text())["complete"]
