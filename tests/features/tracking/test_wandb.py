from __future__ import annotations

import json
import struct

import pytest

pytest.importorskip("wandb")

from wandb.proto.wandb_internal_pb2 import Record

from sweeper.features.tracking._wandb import Wandb
from sweeper.features.tracking.listener import Follower

pytestmark = pytest.mark.filterwarnings("ignore")  # of the client


BLOCK, WHOLE, LAST = 32768, 1, 4


@pytest.fixture
def follow(sweep, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return lambda: Follower(sweep.run, Wandb(sweep.run, sweep.plan))


def read(run):
    """All records of each offline run, by the run's id, in the order of its calls."""
    found = {}
    for path in sorted(run.listeners.glob("tracking/wandb/offline-run-*/run-*.wandb")):
        records = found.setdefault(path.stem.removeprefix("run-"), [])
        records += [Record.FromString(data) for data in stored(path.read_bytes())]
    return found


def stored(data):
    """The records in W&B's file: LevelDB's log format behind a header of seven bytes."""
    assert data[:4] == b":W&B"
    place, part = 7, b""
    while place + 7 <= len(data):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (WHOLE, LAST):
            yield part
            part = b""


def logged(records):
    """What ``log`` was given, without W&B's own keys."""
    rows = []
    for record in records:
        items = record.history.item
        row = {(one.key or ".".join(one.nested_key)): json.loads(one.value_json) for one in items}
        if row:
            rows.append({key: value for key, value in row.items() if not key.startswith("_")})
    return rows


def started(records):
    return next(record.run for record in records if record.HasField("run"))


def summary(records):
    return {
        one.key or ".".join(one.nested_key): json.loads(one.value_json)
        for record in records
        for one in record.summary.update
    }


def test_trials_are_runs_of_a_group_and_one_run_has_the_report(sweep, follow):
    sweep.whole()
    follow().end("complete")
    found = read(sweep.run)
    group, trial = sorted(found)
    assert trial == f"{group}-0"
    for records in found.values():
        assert started(records).run_group == "demo"
    assert started(found[trial]).display_name == "trial 0"
    config = {one.key: json.loads(one.value_json) for one in started(found[trial]).config.update}
    assert config.items() >= {"strategy": "lora", "model": "tiny", "r": 8}.items()
    rows = logged(found[trial])
    assert [(row["optimizer_steps"], row["validation_loss"]) for row in rows] == [
        (5, 1.0),
        (10, 0.5),
    ]
    assert summary(found[trial]).items() >= {"final/accuracy": 0.75, "state": "COMPLETE"}.items()
    assert summary(found[group])["test/accuracy"] == 0.5
    files = {
        entry.path
        for record in found[group]
        for entry in record.request.log_artifact.artifact.manifest.contents
    } | {entry.path for record in found[group] for entry in record.artifact.manifest.contents}
    assert files == {"report.html", "report.md"}


def test_a_resume_goes_on_in_the_same_run(sweep, follow):
    sweep.starts(0)
    sweep.rung(0, 1)
    follow().end("interrupted")
    sweep.rung(0, 2)
    sweep.ends(0)
    follow().end("complete")
    found = read(sweep.run)
    assert len(found) == 2
    trial = max(found)
    assert [row["optimizer_steps"] for row in logged(found[trial])] == [5, 10]
