from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from sweeper.cli.main import app
from sweeper.features.doctor import commands as doctor
from sweeper.features.doctor._results import Result
from sweeper.features.doctor.commands import can_train
from sweeper.features.parts import MachineCheck as Check

SECRET = "hf_" + "s" * 20


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a Python in the place of this one that does not try the training libraries."""

    def use(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return use


def line(name: str) -> str:
    return f"echo '{json.dumps({'event': Result(name=name, state='ok').model_dump()})}'"


def test_what_was_found_before_a_library_took_the_process_down_is_kept(
    python: Callable[[str], None],
) -> None:
    python(f"{line('device')}; kill -SEGV $$")
    *_, device, process = found = list(doctor.training())
    assert (device.name, device.state) == ("device", "works")
    assert (process.name, process.detail) == ("process", "the process was killed by SIGSEGV")
    assert not can_train(found)


def test_a_process_that_fails_or_hangs_says_so(
    python: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    python("echo no module >&2; exit 1")
    *_, failed = doctor.training()
    assert failed.detail == "the process ended with status 1: no module"
    monkeypatch.setattr(doctor, "QUICK_SECONDS", 2.0)
    python(f"{line('device')}; exec sleep 60")
    *_, slow, cut_off = doctor.training()
    assert slow.name == "device"
    assert cut_off.detail.startswith("the process took longer than")


def test_a_missing_library_is_named_and_nothing_is_loaded(
    python: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    python("exit 1")
    monkeypatch.setattr(doctor, "versions", lambda: {"torch": "2", "transformers": "5"})
    found = list(doctor.training())
    states = [check.state for check in found]
    assert states == ["works", "works", "not installed", "not installed"]
    assert not can_train(found)
    assert can_train([check for check in found if check.name != "peft"])


@pytest.mark.parametrize(
    ("states", "able"),
    [
        ({"torch": ("works", True), "Ray": ("not installed", False)}, True),
        ({"torch": ("not installed", True), "Ray": ("works", False)}, False),
    ],
)
def test_only_what_training_needs_decides(states: dict[str, tuple[str, bool]], able: bool) -> None:
    checks = [Check(name, state, needed=needed) for name, (state, needed) in states.items()]  # type: ignore[arg-type]
    assert can_train(checks) is able


def test_a_token_is_seen_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check = doctor.hub_access()
    assert check.state == "off"
    assert "a token is set" in check.detail
    assert SECRET not in str(check)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (urllib.error.HTTPError("u", 401, "m", {}, None), "works"),  # type: ignore[arg-type]
        (urllib.error.URLError("no route"), "does not work"),
        (TimeoutError("timed out"), "does not work"),
    ],
)
def test_any_answer_of_the_hub_shows_that_it_is_there(
    monkeypatch: pytest.MonkeyPatch, answer: Exception, state: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")

    def refuse(*_arguments: object, timeout: float) -> None:
        assert timeout <= 5
        raise answer

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    check = doctor.hub_access()
    assert check.state == state
    assert "https://hub.invalid" in check.detail


def test_a_full_or_foreign_disk_and_too_little_memory_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.disk(tmp_path / "not" / "yet", "disk for runs").state == "works"
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage(2**30, 2**30, 2**20))
    full = doctor.disk(tmp_path, "disk for runs")
    assert (full.state, full.needed) == ("does not work", True)
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert "cannot be written" in doctor.disk(tmp_path, "disk for caches").detail
    assert doctor.memory().state == "works"
    little = doctor.processor().__class__("cpu", 1, 0.25)
    monkeypatch.setattr(doctor, "processor", lambda: little)
    assert doctor.memory().state == "does not work"


@pytest.mark.parametrize(("torch", "code"), [("works", 0), ("does not work", 2)])
def test_the_command_exits_by_whether_anything_can_be_trained(
    monkeypatch: pytest.MonkeyPatch, torch: str, code: int
) -> None:
    found = [
        Check("torch", torch, "2.9", "Install it.", needed=True),
        Check("Ray", "not installed"),
    ]  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    plain = CliRunner().invoke(app, ["doctor"])
    assert plain.exit_code == code
    assert "Install it." in plain.output
    as_json = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).output)
    assert as_json["can_train"] is (code == 0)
    assert as_json["checks"][0]["name"] == "torch"


@pytest.mark.slow
def test_the_real_libraries_are_tried_here() -> None:
    found = {check.name: check for check in doctor.training()}
    assert {*doctor._LIBRARIES, *doctor._FIXES} - {"process"} == found.keys()
    assert {check.state for check in found.values()} == {"works"}
