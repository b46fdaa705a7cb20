"""Which checkpoint of an attempt is whole, and how checkpoints are deleted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.facts.record import TrainingSetup
from sweeper.plans import TrialBudget
from sweeper.training.checkpoints import (
    MANIFEST,
    UNFINISHED,
    Checkpoint,
    checkpoint_bytes,
    checkpoint_folder,
    drop_checkpoints,
    newest_checkpoint,
    seal,
)
from sweeper.trials import TrialConfig

CONFIG = TrialConfig(
    number=3,
    seed=0,
    origin="search",
    task="classification",
    strategy="lora",
    model="tiny",
    parameters={"learning_rate": 5e-3},
    budget=TrialBudget(epochs=2, full_tokens=1000, rung_items=20),
    setup=TrainingSetup(micro_batch=8, evaluation_batch=16, precision="fp32", sequence_length=16),
)


def manifest(rung: int) -> Checkpoint:
    return Checkpoint(
        rung=rung,
        optimizer_steps=6 * rung,
        config=CONFIG,
        setup=CONFIG.setup,
        data_fingerprint="f",
        reports=(),
    )


def save(attempt: Path, rung: int) -> Path:
    unfinished = attempt / UNFINISHED / f"checkpoint-{6 * rung}"
    unfinished.mkdir(parents=True)
    for name in ("weights.safetensors", "optimizer.pt"):
        (unfinished / name).write_bytes(bytes(range(100)))
    place = checkpoint_folder(attempt, rung)
    seal(unfinished, manifest(rung), place)
    return place


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "missing") is None
    for rung in (2, 9, 10):
        save(tmp_path, rung)
    assert newest_checkpoint(tmp_path) == (tmp_path / "checkpoint-10", 10)


def test_a_checkpoint_without_all_its_files_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for rung, name in ((2, "optimizer.pt"), (3, MANIFEST), (4, "weights.safetensors")):
        (save(tmp_path, rung) / name).unlink()
    (save(tmp_path, 5) / "optimizer.pt").write_bytes(b"short")
    (save(tmp_path, 6) / MANIFEST).write_text('{"rung": 6')
    assert newest_checkpoint(tmp_path) == (tmp_path / "checkpoint-1", 1)


def test_an_unfinished_checkpoint_is_none(tmp_path: Path) -> None:
    (tmp_path / UNFINISHED / "checkpoint-60").mkdir(parents=True)
    assert newest_checkpoint(tmp_path) is None


def test_checksums_tell_what_sizes_do_not(tmp_path: Path) -> None:
    place = save(tmp_path, 1)
    saved = Checkpoint.read(place / MANIFEST)
    assert saved.damaged_file(place) == ""
    (place / "optimizer.pt").write_bytes(bytes(100))
    assert saved.is_complete(place)
    assert saved.damaged_file(place) == "optimizer.pt"


def test_checkpoints_are_deleted_and_nothing_else_is(tmp_path: Path) -> None:
    for rung in (1, 2):
        save(tmp_path, rung)
    (tmp_path / UNFINISHED / "checkpoint-18").mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    (tmp_path / "trainer.log").touch()
    drop_checkpoints(tmp_path, keep=2)
    names = ["checkpoint-2", "trainer.log", "weights"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    drop_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]
    drop_checkpoints(tmp_path / "missing")


@pytest.mark.parametrize(
    ("weight_bytes", "optimizer", "expected"),
    [(4, "adamw_torch", 16.0), (2, "adamw_torch", 8.0), (4, "sgd", 8.0)],
)
def test_a_checkpoint_holds_weights_twice_and_the_optimizers_states(
    weight_bytes: int, optimizer: str, expected: float
) -> None:
    assert checkpoint_bytes(1000, weight_bytes, optimizer) == 1000 * expected


def test_paged_states_are_saved_like_others() -> None:
    paged = checkpoint_bytes(1000, 4, "paged_adamw_8bit")
    assert paged == checkpoint_bytes(1000, 4, "adamw_8bit") > checkpoint_bytes(1000, 4, "sgd")


def test_looking_for_checkpoints_needs_no_torch() -> None:
    code = "import sys, sweeper.training.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
