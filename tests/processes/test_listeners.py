"""Processes that listen to a run: the listener of a feature of another package."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweeper import packages
from sweeper.errors import NotInstalled
from sweeper.execution.state.status import Status, make_event
from sweeper.features import loader
from sweeper.processes.listeners import Listeners, wanted_listeners
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec

LISTENER = """
import json, os, time
from pathlib import Path
from sweeper.errors import NotInstalled

MODES = json.loads(os.environ["HEARD"])

def wanted(spec):
    if "missing" in MODES:
        raise NotInstalled("it needs what is not installed")
    return {mode: 0.5 if mode == "slow" else 300.0 for mode in MODES}

def listen(name, run, spec):
    return Heard(name, run, spec)

class Heard:
    def __init__(self, name, run, spec):
        self.name, self.folder = name, run.listeners / "heard"
        self.log = {"spec": spec.model_dump(mode="json"), "nice": os.nice(0), "calls": 0}
        self.log |= {"end": None, "failed": False}

    def catch_up(self):
        self.log["calls"] += 1
        self.write()
        if self.name == "fails" and not self.log["failed"]:
            self.log["failed"] = True
            raise ConnectionError("no route to ann:secret-word@host of http://ann:secret-word@h/x")

    def end(self, state):
        if self.name == "slow":
            time.sleep(60)
        if self.name == "refuses":
            print("token hf_abcdefghijklmnop")
            raise ValueError("it never works")
        self.log["end"] = state
        self.write()

    def write(self):
        (self.folder / f"{self.name}.json").write_text(json.dumps(self.log))
"""


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An installed feature ``heard``; its listeners are named in the environment."""
    site = tmp_path / "site"
    (site / "heard_feature").mkdir(parents=True)
    (site / "heard_feature" / "__init__.py").touch()
    (site / "heard_feature" / "listener.py").write_text(LISTENER)
    info = site / "heard-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heard\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{loader.GROUP}]\nheard = heard_feature\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    importlib.invalidate_caches()
    packages._entry_points.cache_clear()
    loader.installed.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for module in ("heard_feature", "heard_feature.listener"):
        importlib.sys.modules.pop(module, None)  # type: ignore[attr-defined]
    packages._entry_points.cache_clear()
    loader.installed.cache_clear()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "demo")


@pytest.fixture
def spec() -> Spec:
    request = {"task": "code", "models": [{"id": "7B"}], "data": {"examples": 100}}
    return Spec.model_validate(request)


def modes(patch: pytest.MonkeyPatch, *names: str) -> None:
    patch.setenv("HEARD", json.dumps(names))


def log(run: RunFolder, name: str) -> dict[str, object]:
    read: dict[str, object] = json.loads((run.listeners / "heard" / f"{name}.json").read_text())
    return read


def children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def test_a_listener_hears_the_request_and_the_end_in_a_process_of_its_own(
    heard: pytest.MonkeyPatch, run: RunFolder, spec: Spec
) -> None:
    modes(heard, "one", "two")
    before = children()
    with Listeners(run, spec) as listeners:
        assert len(children() - before) == 2
        limit = time.monotonic() + 300
        while not (run.listeners / "heard" / "one.json").is_file() and time.monotonic() < limit:
            time.sleep(0.02)
        assert list(listeners.messages()) == []
        assert listeners.finish("complete") == []
    assert children() <= before
    for name in ("one", "two"):
        found = log(run, name)
        assert found["end"] == "complete"
        assert found["spec"] == spec.model_dump(mode="json")
        assert found["nice"] == 5
    assert log(run, "one")["calls"]


def test_no_listener_is_no_process_and_no_folder(
    heard: pytest.MonkeyPatch, run: RunFolder, spec: Spec
) -> None:
    modes(heard)
    before = children()
    with Listeners(run, spec) as listeners:
        assert children() <= before
        assert listeners.finish("complete") == []
    assert not run.listeners.exists()


def test_what_is_missing_is_raised_before_anything_starts(
    heard: pytest.MonkeyPatch, run: RunFolder, spec: Spec
) -> None:
    modes(heard, "missing")
    with pytest.raises(NotInstalled):
        wanted_listeners(spec)
    with pytest.raises(NotInstalled):
        Listeners(run, spec)


def test_an_error_is_said_without_secrets_and_tried_again(
    heard: pytest.MonkeyPatch, run: RunFolder, spec: Spec
) -> None:
    modes(heard, "fails")
    shown: list[tuple[str, str]] = []
    status = Status(phase="search", trials=3, started_at="", updated_at="")
    with Listeners(run, spec) as listeners:
        show = listeners.with_warnings(
            lambda event, _status: shown.append((event.kind, event.text))
        )
        limit = time.monotonic() + 300.0
        while "warning" not in dict(shown) and time.monotonic() < limit:
            show(make_event("phase"), status)
            time.sleep(0.01)
        assert listeners.finish("complete") == []
    said = dict(shown)["warning"]
    assert "fails does not answer at the moment (ConnectionError: no route" in said
    assert log(run, "fails")["end"] == "complete"
    text = (run.listeners / "heard" / "fails.log").read_text()
    assert "Traceback" in text
    assert "http://ann:***@h/x" in text


def test_what_a_listener_lacks_is_said_at_the_end(
    heard: pytest.MonkeyPatch, run: RunFolder, spec: Spec
) -> None:
    modes(heard, "one", "refuses", "slow")
    before = children()
    with Listeners(run, spec) as listeners:
        notes = listeners.finish("timeout")
    assert [note.partition(" does not have all of this run: ")[0] for note in notes] == [
        "refuses",
        "slow",
    ]
    assert "ValueError: it never works" in notes[0]
    assert "it took longer than 0.5 s" in notes[1]
    assert log(run, "one")["end"] == "timeout"
    text = (run.listeners / "heard" / "refuses.log").read_text()
    assert "hf_***" in text
    assert "hf_abc" not in text
    assert children() <= before


def test_an_interrupted_run_waits_ten_seconds_at_most(
    heard: pytest.MonkeyPatch, run: RunFolder, spec: Spec
) -> None:
    heard.setattr("sweeper.processes.listeners.HURRIED_SECONDS", 0.01)
    modes(heard, "slow")
    with Listeners(run, spec) as listeners:
        (note,) = listeners.finish("interrupted", hurried=True)
    assert "it took longer than 0.01 s" in note
