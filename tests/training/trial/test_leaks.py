"""Nothing of an earlier training is in memory when the next one begins."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from sweeper.data.examples import SPLITS, Dataset, Example
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.training.base_model import first_stage
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.first_stage import FirstStage
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial import train
from sweeper.training.trial.train import train_trial


@pytest.fixture
def _no_automatic_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_automatic_collection")
def test_the_optimizer_of_a_trial_is_gone_before_the_next_one_takes_its_base(
    make_job: Any, make_shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = make_shared()
    seen: list[weakref.ref[Any]] = []
    left: list[int] = []
    make, assemble = train._trainer, train.assembled

    def making(*given: Any) -> Any:
        watch, trainer = make(*given)
        seen.append(weakref.ref(trainer))
        return watch, trainer

    def assembling(*given: Any) -> Any:
        left.append(sum(1 for one in seen if one() is not None))
        return assemble(*given)

    monkeypatch.setattr(train, "_trainer", making)
    monkeypatch.setattr(train, "assembled", assembling)
    for _ in range(2):
        assert train_trial(make_job(shared)).state == "COMPLETE"
    assert left == [0, 0]


@pytest.mark.usefixtures("_no_automatic_collection")
def test_the_model_that_read_the_corpus_is_gone_before_what_it_wrote_is_loaded(
    model_folders: Any, make_shared: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(f"the old iron near the new gold {i}" for i in range(30)))
    llama = make_shared("llama").context
    folder = model_folders["llama"]
    named = ModelSpec(id=str(folder))
    spec = Spec(task="domain", models=(named,), data=DataSpec(corpus=str(corpus)))
    rows = (Example("k", 1, text="the big river"),)
    dataset = Dataset(
        "texts.txt", "text", (), {}, dict.fromkeys(SPLITS, rows),
        dict.fromkeys(SPLITS, "official"), (), "f" * 64,
    )  # fmt: skip
    shared = SharedModel(
        ModelContext(named, llama.facts, folder, dataset, spec, 16, 8, llama.device)
    )
    seen: list[weakref.ref[Any]] = []
    load = first_stage.load_base

    def loading(*given: Any, **named: Any) -> Any:
        model = load(*given, **named)
        seen.append(weakref.ref(model))
        return model

    monkeypatch.setattr(first_stage, "load_base", loading)
    stage = FirstStage("full", 1e-3, 1.0, 4, 2, "fp32", 16)
    read = shared.first_stages.base(stage)
    assert read.result.ran_here
    assert len(seen) == 1
    assert seen[0]() is None
