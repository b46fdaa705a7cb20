"""A process for each service: the command waits for none, whatever becomes of it."""

from __future__ import annotations

import json
import socket
import time

import psutil
import pytest

from sweeper import packages
from sweeper.errors import NotInstalled
from sweeper.execution.state.status import Status, make_event
from sweeper.features.tracking import listener
from sweeper.features.tracking.listener import TrackingState
from sweeper.features.tracking.options import Options
from sweeper.packages import install_command
from sweeper.processes.listeners import Listeners, wanted_listeners
from sweeper.spec import Spec
from sweeper.specfile import resolve


def tracked(*services: str) -> Spec:
    """A request with ``--track``."""
    request = {"task": "code", "models": [{"id": "7B"}], "data": {"examples": 100}}
    return Spec.model_validate({**request, "features": {"tracking": {"services": services}}})


def process_of(listeners: Listeners, name: str):
    return next(value for key, value in listeners._children.items() if key.name == name)


def children():
    return set(psutil.Process().children())


@pytest.fixture
def folder(make_run, monkeypatch):
    """A run that has ended, and an MLflow client that gives up soon."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(listener, "_END_SECONDS", 300.0)
    run = make_run()
    lines = [{"kind": "trial-ended", "at": "", "trial": number} for number in range(3)]
    run.events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def heard_until(listeners, seconds=300.0):
    """What is said first."""
    limit, said = time.monotonic() + seconds, []
    while not said and time.monotonic() < limit:
        said = list(listeners.messages())
        time.sleep(0.01)
    return said


def test_a_missing_client_is_an_error_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda module: module == "mlflow")
    assert listener.wanted(tracked("mlflow", "mlflow")).keys() == {"mlflow"}
    with pytest.raises(NotInstalled) as caught:
        wanted_listeners(tracked("mlflow", "wandb", "tensorboard"))
    assert str(caught.value).splitlines() == [
        "--track wandb needs wandb, which is not installed",
        f"  {install_command('wandb')}",
        "--track tensorboard needs tensorboardX, which is not installed",
        f"  {install_command('tensorboard')}",
    ]


def test_no_service_starts_no_process(folder):
    before = children()
    with Listeners(folder, tracked()) as listeners:
        assert children() <= before
        assert listeners.finish("complete") == []
    assert not folder.listeners.exists()


def test_a_closed_port_is_said_and_costs_the_command_nothing(folder, monkeypatch):
    pytest.importorskip("mlflow")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:secret-word@127.0.0.1:{port}")
    shown = []
    with Listeners(folder, tracked("mlflow")) as listeners:
        process = psutil.Process(process_of(listeners, "mlflow").process.pid)
        process.suspend()
        said = list(listeners.messages())  # returns, although the process can say nothing
        process.resume()
        said = said or heard_until(listeners)
        assert "mlflow does not answer at the moment (MlflowException: API request" in said[0]
        show = listeners.with_warnings(lambda event, _status: shown.append(event.kind))
        status = Status(phase="search", trials=3, started_at="", updated_at="")
        show(make_event("run-started"), status)
        (note,) = listeners.finish("complete")
    assert shown[0] == "run-started"
    assert note.startswith("mlflow does not have all of this run: MlflowException: API request")
    log = (folder.listeners / "tracking" / "mlflow.log").read_text()
    assert "Connection refused" in log
    assert "secret-word" not in log + note + said[0]


def test_a_server_that_never_answers_has_a_limited_time_at_the_end(folder, monkeypatch):
    pytest.importorskip("mlflow")
    before, patience = children(), 120.0
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(patience)))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setattr(listener, "_END_SECONDS", 0.5)
        with Listeners(folder, tracked("mlflow")) as listeners:
            began = time.monotonic()
            (note,) = listeners.finish("complete")
            assert time.monotonic() - began < patience
    assert "it took longer than 0.5 s" in note
    assert children() <= before


def test_a_process_that_dies_is_a_warning(folder):
    pytest.importorskip("tensorboardX")
    with Listeners(folder, tracked("tensorboard")) as listeners:
        process_of(listeners, "tensorboard").kill()
        (note,) = listeners.finish("complete")
    assert "tensorboard does not have all of this run: it was killed by SIGKILL" in note


def assert_without_torch(listeners, folder, name):
    """The process of a service that has all three trials has not loaded torch."""
    process = psutil.Process(process_of(listeners, name).process.pid)
    path, limit = folder.listeners / "tracking" / f"{name}.json", time.monotonic() + 300.0
    while (state := TrackingState.read_or_none(path)) is None or len(state.trials) < 3:
        assert time.monotonic() < limit
        time.sleep(0.05)
    libraries = {mapping.path for mapping in process.memory_maps()}
    assert any("python" in path for path in libraries)
    assert not [path for path in libraries if "libtorch" in path]


def test_a_run_is_logged_by_the_process(folder):
    pytest.importorskip("tensorboardX")
    with Listeners(folder, tracked("tensorboard", "tensorboard")) as listeners:
        assert_without_torch(listeners, folder, "tensorboard")
        assert listeners.finish("complete") == []
    state = TrackingState.read(folder.listeners / "tracking" / "tensorboard.json")
    assert {number: one.ended for number, one in state.trials.items()} == dict.fromkeys(
        range(3), True
    )


@pytest.mark.filterwarnings("ignore")  # of the client and its database
def test_a_store_of_mlflow_gets_the_end_of_a_run(folder, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = f"file://{tmp_path}/mlruns"  # the client's default, a database, takes seconds to make
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    (folder.path / "report.html").write_text("<p>the report</p>")
    verdict = {"recommended_trial": 1, "sentence": "Use trial 1."}
    finalists = [{"trial": 1, "test_score": {"value": 0.9}}]
    found = {"verdict": verdict, "metric": {"name": "accuracy"}, "finalists": finalists}
    folder.findings.write_text(json.dumps(found))
    with Listeners(folder, tracked("mlflow")) as listeners:
        assert_without_torch(listeners, folder, "mlflow")
        assert listeners.finish("complete") == []
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("sweeper")
    trials = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = trials.pop(folder.path.name)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"] == "Use trial 1."
    counts = {"trials/complete": 3, "trials/pruned": 0, "trials/fail": 0, "recommended_trial": 1}
    assert parent.data.metrics.items() >= {**counts, "test/accuracy": 0.9}.items()
    assert parent.data.metrics["best_validation_loss"] > 0
    files = client.list_artifacts(parent.info.run_id, "report")
    assert [file.path for file in files] == ["report/report.html"]
    assert {trial.info.status for trial in trials.values()} == {"FINISHED"}
    assert trials["trial 0"].data.params["r"] == "16"
    assert trials["trial 0"].data.metrics["final/tokens"] == 70000


def test_the_log_has_the_whole_reason_why_a_service_lacks_the_end(folder, monkeypatch, tmp_path):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/file")
    with Listeners(folder, tracked("mlflow")) as listeners:
        (note,) = listeners.finish("complete")
    log = (folder.listeners / "tracking" / "mlflow.log").read_text()
    reason = log.splitlines()[-1]
    assert log.startswith("Traceback")
    assert reason.partition(":")[0] in note
    assert str(tmp_path / "file") in reason


def test_the_command_logs_a_sweep_and_keeps_its_services_for_a_resume(tmp_path, monkeypatch):
    """The one test of the whole way, from the flag to the service's files."""
    pytest.importorskip("tensorboardX")
    from commands import PATHS, Sweeper, ended_after

    class Tracked(Sweeper):
        def command(self, trials: int, workers: int, seed: int) -> list[str]:
            return [*super().command(trials, workers, seed), "--track", "tensorboard"]

    monkeypatch.setenv("PYTHONPATH", PATHS)
    made = Tracked(tmp_path / "runs" / "run")
    with ended_after(made):
        made.finish(2)
    state = TrackingState.read(made.run.listeners / "tracking" / "tensorboard.json")
    assert [one.ended for one in state.trials.values()] == [True, True]
    assert resolve({}, made.run.spec).features.of(Options).services == ("tensorboard",)
