from __future__ import annotations

from pathlib import Path

import pytest
from curve_backend import make_plan, make_spec
from optuna.trial import TrialState
from sweeper.execution.claims import Claim, Queue, lease_of
from sweeper.search.storage import open_storage

from sweeper.execution import worker
from sweeper.execution.events import Event
from sweeper.runfolder import RunFolder
from sweeper.search.study import CLOSED, OPEN, PHASE, SPEC, TOTAL, create_study, jobs_name


class EndedMeanwhile(Queue):
    """A queue whose search another worker ends just after this one has claimed a trial."""

    def claim(self, owner: str, below: int | None = None) -> Claim | None:
        claimed = super().claim(owner, below)
        if below is not None:
            self.study.set_user_attr(TOTAL, 0)
            self.study.set_user_attr(PHASE, CLOSED)
        return claimed


def test_a_trial_claimed_while_the_search_was_ended_is_put_back_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, spec, heard = RunFolder(tmp_path / "run"), make_spec(1), list[Event]()
    run.path.mkdir()
    make_plan(1).write(run.plan)
    url = f"journal:{run.path}/study.log"
    storage = open_storage(url)
    study, _jobs = create_study(storage, "run"), create_study(storage, jobs_name("run"))
    queue = Queue(storage, study)
    queue.add({}, {})
    for name, value in {SPEC: spec.to_json(), TOTAL: 1, PHASE: OPEN}.items():
        study.set_user_attr(name, value)
    monkeypatch.setattr(worker, "Queue", EndedMeanwhile)
    monkeypatch.setattr(
        worker, "StopFlag", lambda _parent: lambda: False
    )  # or it takes our signals

    status = worker.work(run, url, "curve_backend:make", worker="0", parent=None, tell=heard.append)

    assert status == 0
    trial = queue.trial(0)
    assert (trial.state, trial.params) == (TrialState.WAITING, {})
    assert (lease_of(trial).owner, lease_of(trial).crashes) == ("", 0)
    assert not run.trial(0).exists()
    assert "trial-started" not in [one.kind for one in heard]
