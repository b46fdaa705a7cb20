from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sweeper.backend import Interrupted
from sweeper.data.examples import SPLITS, Dataset, Example
from sweeper.errors import UsageError
from sweeper.facts.record import ModelFacts
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.training import first_stage
from sweeper.training.first_stage import FirstStage, FirstStages
from sweeper.training.workshop import Workshop

STAGE = FirstStage("full", 1e-2, 2.0, 4, 2, "fp32", 16)


def never() -> bool:
    return False


@pytest.fixture
def stages(
    model_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FirstStages]:
    """First stages over a corpus in which one word always follows another."""
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    chance = random.Random(0)
    corpus = tmp_path / "corpus.jsonl"
    lines = []
    for number in range(60):
        words = [chance.choice(["old iron", "new gold", "big nile"]) for _ in range(4)]
        lines.append(json.dumps({"text": " ".join(["the", "a", "some"][number % 3 :] + words)}))
    corpus.write_text("\n".join(lines))

    def make(path: Path | None = corpus) -> FirstStages:
        folder = model_folders["llama"]
        spec = Spec(
            task="domain",
            models=(ModelSpec(id=str(folder)),),
            data=DataSpec(corpus=str(path) if path else None),
        )
        rows = (Example("k", 1, text="the old iron"),)
        dataset = Dataset(
            "texts.jsonl",
            "text",
            (),
            {},
            dict.fromkeys(SPLITS, rows),
            dict.fromkeys(SPLITS, "official"),
            (),
            "0" * 64,
        )
        facts = ModelFacts.model_validate(FACTS | {"id": str(folder)})
        named = ModelSpec(id=str(folder))
        return FirstStages(
            Workshop(named, facts, folder, dataset, spec, 16, 16, torch.device("cpu"))
        )

    return make


FACTS: dict[str, Any] = {
    "source": "local",
    "model_type": "llama",
    "kind": "decoder",
    "parameters": 10_000,
    "parameters_exact": False,
    "layers": 2,
    "hidden_size": 32,
    "attention_heads": 4,
    "key_value_heads": 4,
    "head_dim": 8,
    "intermediate_size": 48,
    "vocabulary_size": 26,
    "context_length": 32,
    "tied_embeddings": False,
    "gated_mlp": True,
}


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_the_base_has_learnt_from_the_corpus(
    strategy: str, stages: Callable[..., FirstStages], model_folders: dict[str, Path]
) -> None:
    folder = stages().folder(replace(STAGE, strategy=strategy), never)

    record = json.loads((folder / "first_stage.json").read_text())
    assert record["held_out_loss_after"] < record["held_out_loss_before"] - 0.2
    assert record["documents"] == 54
    assert record["held_out"] == 6
    assert record["tokens"] > 0
    base: Any = AutoModelForCausalLM.from_pretrained(model_folders["llama"])
    read: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert {name for name, _ in read.named_parameters()} == {n for n, _ in base.named_parameters()}
    assert not torch.equal(
        read.model.layers[0].mlp.up_proj.weight, base.model.layers[0].mlp.up_proj.weight
    )
    assert AutoTokenizer.from_pretrained(folder).get_vocab()


def test_equal_stages_are_run_once_and_others_apart(
    stages: Callable[..., FirstStages], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stages().folder(STAGE, never)
    run = FirstStages._run
    ran: list[FirstStage] = []

    def counted(self: FirstStages, stage: FirstStage, *rest: Any) -> None:
        ran.append(stage)
        run(self, stage, *rest)

    monkeypatch.setattr(FirstStages, "_run", counted)
    other = replace(STAGE, num_train_epochs=0.5)

    assert stages().folder(STAGE, never) == first
    assert ran == []
    assert stages().folder(other, never) != first
    assert ran == [other]


def test_another_corpus_is_another_stage(
    stages: Callable[..., FirstStages], tmp_path: Path
) -> None:
    short = tmp_path / "short.jsonl"
    short.write_text("\n".join(json.dumps({"text": f"the old iron {w}"}) for w in ("gold", "nile")))

    one, other = stages(), stages(short)

    assert one._digest(STAGE) != other._digest(STAGE)
    assert (
        json.loads((other.folder(STAGE, never) / "first_stage.json").read_text())["held_out"] == 0
    )


def test_a_stage_that_is_stopped_leaves_nothing_behind(
    stages: Callable[..., FirstStages], tmp_path: Path
) -> None:
    asked = iter([False, False, True])

    with pytest.raises(Interrupted):
        stages().folder(STAGE, lambda: next(asked))

    kept = [path.name for path in (tmp_path / "home" / "first_stages").iterdir()]
    assert [name for name in kept if not name.endswith(".lock")] == []


def test_a_sweep_without_corpus_says_so(stages: Callable[..., FirstStages]) -> None:
    with pytest.raises(UsageError, match=r"data\.corpus"):
        stages(None).folder(STAGE, never)


@pytest.mark.parametrize(("blocks", "micro_batch", "micro"), [(8, 3, 2), (8, 16, 8), (6, 4, 3)])
def test_a_trials_parameters_say_how_the_corpus_is_read(
    blocks: int, micro_batch: int, micro: int
) -> None:
    parameters = {
        "first_stage": "lora",
        "first_stage_learning_rate": 1e-4,
        "first_stage_epochs": 1,
        "first_stage_blocks": blocks,
        "learning_rate": 2e-4,
    }

    stage = FirstStage.of(parameters, micro_batch, "fp32", 512)

    assert stage == FirstStage("lora", 1e-4, 1.0, blocks, micro, "fp32", 512)
    assert stage.parameters["target_modules"] == "all-linear"


@pytest.mark.parametrize("parameters", [{}, {"first_stage": first_stage.NONE}])
def test_reading_a_corpus_can_be_skipped(parameters: dict[str, Any]) -> None:
    assert FirstStage.of(parameters, 8, "fp32", 512) is None
