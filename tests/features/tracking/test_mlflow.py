from __future__ import annotations

import pytest

pytest.importorskip("mlflow")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow_server import serving

from sweeper.features.tracking._mlflow import EXPERIMENT, Mlflow
from sweeper.features.tracking.listener import Follower

pytestmark = pytest.mark.filterwarnings("ignore")  # of the client and its database


@pytest.fixture
def runs(monkeypatch, sweep):
    """What the client finds in the experiment of this test, by the name of the run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (sweep.run.path.parent / "mlruns").as_uri())
    # The client's default, a database, takes seconds to make its tables.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    def found():
        client = MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        every = client.search_runs([experiment.experiment_id])
        named = {one.info.run_name: one for one in every}
        assert len(named) == len(every)
        return named

    return found


@pytest.fixture
def follow(sweep):
    return lambda: Follower(sweep.run, Mlflow(sweep.run, sweep.plan))


def curve(run, name="validation_loss"):
    history = MlflowClient().get_metric_history(run.info.run_id, name)
    return [(one.step, one.value) for one in history]


def test_trials_are_nested_runs_and_the_report_is_an_artifact(sweep, follow, runs):
    sweep.whole()
    sweep.starts(1)
    sweep.ends(1, "FAIL")
    follow().end("complete")
    found = runs()
    parent, first, second = (found[name] for name in ("demo", "trial 0", "trial 1"))
    for trial in (first, second):
        assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert first.data.params == {
        "strategy": "lora", "model": "tiny", "seed": "0", "learning_rate": "0.0001", "r": "8"
    }  # fmt: skip
    assert curve(first) == [(5, 1.0), (10, 0.5)]
    assert first.data.metrics["final/accuracy"] == 0.75
    assert first.data.metrics["final/pass_1"] == 0.5
    assert (first.info.status, first.data.tags["state"]) == ("FINISHED", "COMPLETE")
    assert (second.info.status, second.data.tags["state"]) == ("FAILED", "FAIL")
    assert second.data.tags["reason"] == "diverged: loss is not finite"
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["test/accuracy"] == 0.5
    assert parent.data.tags["mlflow.note.content"] == "Use trial 0."
    artifacts = MlflowClient().list_artifacts(parent.info.run_id, "report")
    assert [one.path for one in artifacts] == ["report/report.html", "report/report.md"]


def test_a_resume_goes_on_in_the_same_runs(sweep, follow, runs):
    sweep.starts(0)
    sweep.rung(0, 1)
    follow().end("interrupted")
    before = runs()
    assert {one.info.status for one in before.values()} == {"KILLED"}
    sweep.rung(0, 2)
    sweep.ends(0)
    follow().end("complete")
    after = runs()
    assert {name: one.info.run_id for name, one in after.items()} == {
        name: one.info.run_id for name, one in before.items()
    }
    assert {one.info.status for one in after.values()} == {"FINISHED"}
    assert curve(after["trial 0"]) == [(5, 1.0), (10, 0.5)]


def test_no_password_is_kept(sweep, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret-word@localhost:1")
    assert Mlflow(sweep.run, sweep.plan).where == "http://ann:***@localhost:1"


@pytest.fixture
def server(monkeypatch):
    with serving() as made:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", made.address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield made


def test_a_server_gets_all_of_a_run_though_it_was_away(sweep, follow, server):
    follower = follow()
    sweep.starts(0)
    sweep.rung(0, 1)
    follower.catch_up()
    server.away = True
    sweep.rung(0, 2)
    with pytest.raises(MlflowException):
        follower.catch_up()
    sweep.ends(0)
    sweep.is_reported()
    server.away = False
    follower.end("complete")
    found = server.named()
    parent, trial = found["demo"], found["trial 0"]
    losses = [one for one in trial["data"]["metrics"] if one["key"] == "validation_loss"]
    assert [(one["step"], one["value"]) for one in losses] == [(5, 1.0), (10, 0.5)]
    tags = {one["key"]: one["value"] for one in trial["data"]["tags"]}
    assert tags["mlflow.parentRunId"] == parent["info"]["run_id"]
    assert {run["info"]["status"] for run in found.values()} == {"FINISHED"}
    report = f"{parent['info']['run_id']}/report/report.html"
    assert server.files[report] == b"<p>the report</p>"
