"""A base that a feature makes: what trials on it keep, and how it is found without the feature."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeper.artifact import Record
from sweeper.cache import home, make_once
from sweeper.errors import UsageError
from sweeper.features import parts
from sweeper.training.base_model.bases import FOLDER, Bases
from sweeper.training.trial.artifacts import record_of
from sweeper.training.trial.assembly import trained
from sweeper.training.trial.reload import reload
from sweeper.training.trial.train import train_trial
from sweeper.trials import TrialConfig


class Scaled(Record):
    factor: float


def prepare(bases: Bases) -> Callable[[TrialConfig, int], parts.MadeBase | None]:
    """Gives trials of an odd number a base whose weights are scaled."""
    context = bases.context

    def scale(folder: Path) -> None:
        shutil.copytree(context.folder, folder, dirs_exist_ok=True)
        weights = load_file(folder / "model.safetensors")
        scaled = {name: 0.5 * weight for name, weight in weights.items()}
        save_file(scaled, folder / "model.safetensors", {"format": "pt"})

    def base(config: TrialConfig, micro_batch: int) -> parts.MadeBase | None:
        place = home() / FOLDER / "half"
        seconds = 0.0 if place.is_dir() else 2.5
        if config.number % 2 == 0:
            return None
        return parts.MadeBase(make_once(place, scale), Scaled(factor=0.5), seconds)

    return base


@pytest.fixture
def jobs(
    make_job: Any, make_shared: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Makes jobs of one model, whose trials ask a feature for their base."""
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(parts, "PREPARE", SimpleNamespace(all=lambda: [("scaling", prepare)]))
    shared = make_shared("llama")

    def job(number: int, **changes: Any) -> Any:
        made = make_job(shared, number=number, keep_weights=True, **changes)
        made.run = tmp_path
        return made

    return job


def test_results_say_which_base_was_made_and_in_which_trial(jobs: Callable[..., Any]) -> None:
    first, second, own = (train_trial(jobs(number)) for number in (1, 3, 2))

    assert first.base is not None
    assert first.base.folder == f"{FOLDER}/half"
    assert (first.preparing_seconds, second.preparing_seconds) == (2.5, 0.0)
    assert first.features == {"scaling": {"factor": 0.5}}
    assert second.base == first.base
    assert second.validation_loss == first.validation_loss != own.validation_loss
    assert (own.base, own.features, own.preparing_seconds) == (None, {}, 0.0)


def test_weights_are_loaded_from_the_run_without_feature_and_cache(
    jobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = jobs(1)
    result = train_trial(job)
    shutil.rmtree(tmp_path / "home" / FOLDER)
    monkeypatch.setattr(parts, "PREPARE", SimpleNamespace(all=list))
    weights = job.folder / "weights"
    job.shared.prepared_bases.release()

    with trained(job.shared, weights) as same:
        assert job.evaluator().evaluate(same).loss == pytest.approx(result.validation_loss)
    model: Any = reload(weights).model
    base = model.base.get_base_model()
    kept = load_file(tmp_path / FOLDER / "half" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    loaded = dict(base.named_parameters())
    assert any(torch.equal(weight, kept[name]) for one, weight in loaded.items()
               if one.endswith("layers.0.mlp.up_proj.weight"))  # fmt: skip

    # Another content under the same name is not taken for it.
    save_file({**kept, name: 2 * kept[name]}, tmp_path / FOLDER / "half" / "model.safetensors")
    with pytest.raises(UsageError):
        reload(weights)


def test_a_whole_model_needs_no_other_base(jobs: Callable[..., Any], tmp_path: Path) -> None:
    job = jobs(1, strategy="full", parameters={"learning_rate": 1e-3, "head_learning_rate": 1e-2})
    result = train_trial(job)

    assert result.base is not None
    assert result.base_bytes == 0
    assert record_of(job.folder / "weights").base is None
    assert not (tmp_path / FOLDER).exists()
