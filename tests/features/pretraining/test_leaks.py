"""The model that read the corpus is not in memory when what it wrote is used."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from sweeper.data.examples import SPLITS, Dataset, Example
from sweeper.features.pretraining import _stage
from sweeper.spec import ModelSpec, Spec
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel


@pytest.fixture
def _no_automatic_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


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
    spec = Spec(task="domain", models=(named,), features={"pretraining": {"corpus": str(corpus)}})
    rows = (Example("k", 1, text="the big river"),)
    dataset = Dataset(
        "texts.txt", "text", (), {}, dict.fromkeys(SPLITS, rows),
        dict.fromkeys(SPLITS, "official"), (), "f" * 64,
    )  # fmt: skip
    shared = SharedModel(
        ModelContext(named, llama.facts, folder, dataset, spec, 16, 8, llama.device)
    )
    seen: list[weakref.ref[Any]] = []
    load = _stage.load_base

    def loading(*given: Any, **named: Any) -> Any:
        model = load(*given, **named)
        seen.append(weakref.ref(model))
        return model

    monkeypatch.setattr(_stage, "load_base", loading)
    stage = _stage.FirstStage("full", 1e-3, 1.0, 4, 2, "fp32", 16)
    assert _stage.FirstStages(shared.prepared_bases).base(stage).seconds > 0
    assert len(seen) == 1
    assert seen[0]() is None
