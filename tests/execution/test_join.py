from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from curve_backend import make_spec

from sweeper.errors import RunError
from sweeper.execution import sharing
from sweeper.execution.claims import lease_of
from sweeper.execution.join import join
from sweeper.runfolder import RunFolder
from sweeper.search.storage import default_url, open_storage
from sweeper.search.study import BACKEND, RUN, SPEC, create_study
from sweeper.spec import DataSpec

PLAIN_OPTUNA = """
import json, sys, optuna
study = optuna.load_study(study_name=sys.argv[1], storage=sys.argv[2])
best, frame = study.best_trial, [trial for trial in study.trials if trial.value is not None]
print(json.dumps({
    "trials": len(study.trials),
    "best": best.value,
    "values": [trial.value for trial in frame if trial.state.name == "COMPLETE"],
    "rungs": list(best.intermediate_values),
    "strategy": best.params["strategy"],
    "parameters": list({name for trial in study.trials for name in trial.params}),
}))
"""

FIRST = {"CURVE_STEP_SECONDS": "0.02", "CURVE_QUICK": "1"}


def worker(storage: str, directory: Path) -> subprocess.Popen[str]:
    """``sweeper worker`` in another shell, in another directory."""
    command = [sys.executable, "-m", "sweeper.cli.main", "worker", "--storage", storage]
    return subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True)


def test_a_worker_from_another_shell_joins_and_ends_with_the_study(
    commands, assert_whole: Callable[[int], None], tmp_path: Path
) -> None:
    popen = commands.start(12, 1, **FIRST)
    commands.wait_for(lambda: commands.lines("trained.log"))
    guest = worker(str(commands.run.study), tmp_path)
    _, errors = popen.communicate(timeout=90)
    assert popen.returncode == 0, errors
    _, said = guest.communicate(timeout=60)
    assert guest.returncode == 0, said
    assert '"kind":"trial-ended"' in said
    assert_whole(12)
    owners = {lease_of(trial).owner.split("/")[1] for trial in commands.trials()}
    assert str(guest.pid) in owners
    assert len(owners) == 2


def test_a_run_on_postgresql_is_shared_and_opens_in_plain_optuna(
    commands,
    assert_whole: Callable[[int], None],
    tmp_path: Path,
    postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CURVE_STORAGE", postgresql_url)
    popen = commands.start(12, 1, **FIRST)
    commands.wait_for(lambda: commands.lines("trained.log"))
    guest = worker(postgresql_url, tmp_path)
    _, errors = popen.communicate(timeout=90)
    assert popen.returncode == 0, errors
    _, said = guest.communicate(timeout=60)
    assert guest.returncode == 0, said
    assert_whole(12)
    owners = [lease_of(trial).owner.split("/")[1] for trial in commands.trials()]
    assert str(guest.pid) in owners
    assert len(set(owners)) == 2
    plain = [sys.executable, "-c", PLAIN_OPTUNA, commands.folder.name, postgresql_url]
    told = json.loads(subprocess.run(plain, capture_output=True, text=True, check=True).stdout)
    assert told["trials"] == 12
    assert told["best"] == min(told["values"])
    assert told["rungs"] == list(range(1, 9))
    assert told["strategy"].split("@")[0] in ("lora", "full", "head")
    assert set(told["parameters"]) >= {"strategy", "lora.learning_rate"}


def published(folder: Path, url: str, **search: object) -> RunFolder:
    run = RunFolder(folder)
    folder.mkdir()
    run.plan.write_text("{}")
    study = create_study(open_storage(url), folder.name)
    study.set_user_attr(RUN, str(folder))
    study.set_user_attr(BACKEND, "x:y")
    study.set_user_attr(SPEC, make_spec(**search).to_json())  # type: ignore[arg-type]
    sharing.publish(run, study)
    return run


def refused(url: str, run: Path | None = None) -> str:
    with pytest.raises(RunError) as caught:
        join(url, run=run, worker="0", tell=lambda event: None)
    return str(caught.value)


def test_a_storage_without_one_run_is_refused(tmp_path: Path) -> None:
    assert "the storage holds 0 runs" in refused(f"journal:{tmp_path}/s.log")


def test_a_folder_that_is_not_shared_is_refused(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/s.log"
    run = published(tmp_path / "run", url, storage=url)
    assert "cannot be seen from" in refused(url, tmp_path / "nowhere")
    copy = tmp_path / "elsewhere" / "run"
    copy.mkdir(parents=True)
    (copy / "plan.json").write_text("{}")
    assert "is a copy of the run's folder" in refused(url, copy)
    run.path.rename(tmp_path / "other")
    assert "belongs to another run than 'run'" in refused(url, tmp_path / "other")


def test_all_that_cannot_be_seen_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"journal:{tmp_path}/s.log"
    published(tmp_path / "run", url, storage="postgresql://elsewhere/db")
    study = create_study(open_storage(url), "run")
    spec = make_spec(storage="postgresql://elsewhere/db").model_copy(
        update={"data": DataSpec(path="rows.jsonl", test="held-out.jsonl")}
    )
    study.set_user_attr(SPEC, spec.to_json())
    said = refused(url)
    assert "rows.jsonl cannot be seen from" in said
    assert "held-out.jsonl cannot be seen from" in said
    assert "the run's command uses another storage: postgresql" in said
    (tmp_path / "rows.jsonl").touch()
    monkeypatch.chdir("/")  # the command's directory is found again
    assert "rows.jsonl" not in refused(url)


def test_a_file_is_meant_from_every_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    published(tmp_path / "run", f"sqlite:///{tmp_path}/run.db")
    monkeypatch.setattr("sweeper.execution.join.work", lambda _run, url, *_a, **_k: url)
    assert join("sqlite:///run.db", worker="0", tell=lambda event: None) == default_url(
        tmp_path / "run.db"
    )


def test_a_run_through_optunas_proxy_reaches_its_total(
    commands, assert_whole: Callable[[int], None], grpc_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVE_STORAGE", grpc_url)
    commands.finish(5, 2, CURVE_QUICK="1")
    assert_whole(5)
    names = [study.study_name for study in open_storage(grpc_url).optuna.get_all_studies()]
    assert sorted(names) == ["run", "run/jobs"]
