from __future__ import annotations

import fcntl
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from sweeper.backend import Interrupted
from sweeper.data.examples import SPLITS, Dataset, Example
from sweeper.errors import UsageError
from sweeper.facts.record import ModelFacts
from sweeper.features.parts import record_of
from sweeper.features.pretraining._facts import NAME, StageRecord
from sweeper.features.pretraining._stage import (
    Corpus,
    FirstStage,
    FirstStages,
    collate_packed,
    pack,
)
from sweeper.spec import ModelSpec, Spec
from sweeper.training.base_model.bases import Bases
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial.assembly import trained
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import TrialConfig, TrialResult

STAGE = FirstStage("full", 1e-2, 2.0, 4, 2, "fp32", 16)


@pytest.fixture
def stages(
    model_folders: dict[str, Path],
    tiny_facts: Callable[..., ModelFacts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
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
            features={NAME: {"corpus": str(path) if path else None}},
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
        facts = tiny_facts(str(folder), vocabulary_size=26, context_length=32)
        named = ModelSpec(id=str(folder))
        context = ModelContext(named, facts, folder, dataset, spec, 16, 16, torch.device("cpu"))
        return FirstStages(Bases(context))

    return make


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_the_base_has_learnt_from_the_corpus(
    strategy: str, stages: Callable[..., FirstStages], model_folders: dict[str, Path]
) -> None:
    folder = stages().base(replace(STAGE, strategy=strategy)).folder

    record = json.loads((folder / "first_stage.json").read_text())
    assert record["held_out_loss_after"] < record["held_out_loss_before"] - 0.2
    assert record["documents"] == 49
    assert record["held_out"] == 5
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
    first = stages().base(STAGE).folder
    run = FirstStages._run
    ran: list[FirstStage] = []

    def counted(self: FirstStages, stage: FirstStage, *rest: Any) -> None:
        ran.append(stage)
        run(self, stage, *rest)

    monkeypatch.setattr(FirstStages, "_run", counted)
    other = replace(STAGE, num_train_epochs=0.5)

    assert stages().base(STAGE).folder == first
    assert ran == []
    assert stages().base(other).folder != first
    assert ran == [other]


def test_another_corpus_is_another_stage(
    stages: Callable[..., FirstStages], tmp_path: Path
) -> None:
    short = tmp_path / "short.jsonl"
    short.write_text("\n".join(json.dumps({"text": f"the old iron {w}"}) for w in ("gold", "nile")))

    one, other = stages(), stages(short)

    assert one._digest(STAGE) != other._digest(STAGE)
    assert json.loads((other.base(STAGE).folder / "first_stage.json").read_text())["held_out"] == 0


def test_reading_is_told_step_by_step(stages: Callable[..., FirstStages], heard: Any) -> None:
    first = stages()
    first._context.on_progress = heard.on_progress
    folder = first.base(STAGE).folder
    steps = json.loads((folder / "first_stage.json").read_text())["optimizer_steps"]
    assert heard.of("reading the corpus") == list(range(1, steps + 1))
    assert ("scoring the corpus", 0, 5) in heard


def test_a_stage_that_is_stopped_leaves_nothing_behind(
    stages: Callable[..., FirstStages], tmp_path: Path
) -> None:
    asked, made = iter([False, False, True]), stages()
    made._context.on_progress.should_stop = lambda: next(asked)

    with pytest.raises(Interrupted):
        made.base(STAGE)

    kept = [path.name for path in (tmp_path / "home" / "bases").iterdir()]
    assert [name for name in kept if not name.endswith(".lock")] == []


def test_a_sweep_without_corpus_says_so(stages: Callable[..., FirstStages]) -> None:
    with pytest.raises(UsageError, match="--corpus"):
        stages(None).base(STAGE)


@pytest.mark.parametrize(("blocks", "micro_batch", "micro"), [(8, 3, 2), (8, 16, 8), (6, 4, 3)])
def test_a_trials_parameters_say_how_the_corpus_is_read(
    make_config: Any, blocks: int, micro_batch: int, micro: int
) -> None:
    parameters = {
        "first_stage": "lora",
        "first_stage_learning_rate": 1e-4,
        "first_stage_epochs": 1,
        "first_stage_blocks": blocks,
        "learning_rate": 2e-4,
    }

    config = make_config(parameters=parameters, sequence_length=512)
    stage = FirstStage.of(config, micro_batch)

    assert stage == FirstStage("lora", 1e-4, 1.0, blocks, micro, "fp32", 512)
    assert stage.parameters["target_modules"] == "all-linear"


def test_each_way_to_read_has_a_rate_of_its_own(make_config: Any) -> None:
    parameters = {
        "first_stage_learning_rate": 1e-4,
        "first_stage_full_learning_rate": 2e-5,
        "first_stage_epochs": 1,
        "first_stage_blocks": 8,
    }
    rates = {}
    for way in ("lora", "full"):
        stage = FirstStage.of(make_config(parameters={"first_stage": way, **parameters}), 8)
        assert stage is not None
        rates[way] = stage.learning_rate
    assert rates == {"lora": 1e-4, "full": 2e-5}


@pytest.mark.parametrize("parameters", [{}, {"first_stage": "none"}])
def test_reading_a_corpus_can_be_skipped(make_config: Any, parameters: dict[str, Any]) -> None:
    assert FirstStage.of(make_config(parameters=parameters), 8) is None


TASK: dict[str, Any] = {
    "task": "domain",
    "sequence_length": 16,
    "keep_weights": True,
    "budget": {"epochs": 2, "rungs": 2},
}
READING: dict[str, Any] = {
    "first_stage": "full",
    "first_stage_full_learning_rate": 1e-2,
    "first_stage_epochs": 2.0,
    "first_stage_blocks": 4,
}
LORA = {"learning_rate": 1e-3, "r": 4, "lora_alpha": 8, "target_modules": "qkvo"}


@pytest.fixture
def two_stages(
    stages: Callable[..., FirstStages],
    make_config: Callable[..., TrialConfig],
    answering: type[Any],
    tmp_path: Path,
) -> Callable[..., tuple[TrialJob, TrialResult]]:
    """Runs one trial in a run folder; all trials share one model."""
    shared = SharedModel(stages()._context)

    def run(number: int, strategy: str, parameters: dict[str, Any]) -> tuple[TrialJob, TrialResult]:
        folder = tmp_path / "run" / "trials" / str(number)
        folder.mkdir(parents=True)
        config = make_config(number=number, strategy=strategy, parameters=parameters, **TASK)
        job = TrialJob(shared, config, folder, answering(), tmp_path / "run")
        return job, train_trial(job)

    return run


def test_a_trial_trains_on_the_base_that_has_read_and_says_what_that_cost(
    two_stages: Callable[..., tuple[TrialJob, TrialResult]], tmp_path: Path
) -> None:
    job, first = two_stages(0, "lora", {**READING, **LORA})
    _, second = two_stages(1, "lora", {**READING, **LORA})
    _, without = two_stages(2, "lora", {**READING, "first_stage": "none", **LORA})

    record = record_of(first.features, NAME, StageRecord)
    assert record is not None
    assert record.tokens > 0
    assert first.preparing_seconds == record.seconds > 0
    assert second.preparing_seconds == 0
    assert first.base == second.base
    assert first.features == second.features
    assert without.base is None
    assert not without.features
    assert first.validation_loss == second.validation_loss
    assert first.validation_loss is not None
    assert without.validation_loss is not None
    assert first.validation_loss < without.validation_loss - 0.2
    assert first.tokens == without.tokens  # those of the task alone
    assert len(list((tmp_path / "run" / "bases").glob("[!.]*"))) == 1
    assert not any(w.requires_grad for w in job.context.base().parameters())


def test_an_adapter_finds_the_base_it_belongs_to_in_the_run_alone(
    two_stages: Callable[..., tuple[TrialJob, TrialResult]], tmp_path: Path
) -> None:
    job, result = two_stages(0, "lora", {**READING, **LORA})
    weights = job.folder / "weights"
    assert result.base is not None
    shutil.rmtree(tmp_path / "home" / "bases")
    job.shared.prepared_bases.release()

    with trained(job.shared, weights) as model:
        assert job.evaluator().evaluate(model).loss == pytest.approx(
            result.validation_loss, abs=1e-6
        )

    base = f"./{result.base.folder}"
    config = json.loads((weights / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base
    shutil.rmtree(tmp_path / "run" / base)
    with pytest.raises(UsageError), trained(job.shared, weights):
        pass


@pytest.mark.parametrize(
    ("strategy", "own"),
    [
        ("full", {"learning_rate": 1e-3}),
        ("prefix", {"learning_rate": 1e-3, "num_virtual_tokens": 2}),
        ("qlora", LORA),
    ],
)
def test_every_way_to_train_can_follow_a_first_stage(
    strategy: str, own: dict[str, Any], two_stages: Callable[..., tuple[TrialJob, TrialResult]]
) -> None:
    job, result = two_stages(0, strategy, {**READING, **own})

    with trained(job.shared, job.folder / "weights") as model:
        loss = job.evaluator().evaluate(model).loss

    assert result.state == "COMPLETE"
    # A whole model was saved after the stage and needs no other base.
    kept = job.run is not None and (job.run / "bases").is_dir()
    assert kept == (strategy != "full")
    assert loss == pytest.approx(result.validation_loss, abs=1e-5)


def test_a_stage_waits_for_the_process_that_runs_it_until_told_to_stop(
    stages: Callable[..., FirstStages], tmp_path: Path
) -> None:
    made = stages()
    place = tmp_path / "home" / "bases" / made._digest(STAGE)
    place.parent.mkdir(parents=True)
    asked = iter([False, True])
    made._context.on_progress.should_stop = lambda: next(asked)

    with (place.parent / f".{place.name}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Interrupted):
            made.base(STAGE)


def test_how_much_memory_the_work_takes_makes_no_other_stage(
    stages: Callable[..., FirstStages],
) -> None:
    made = stages()

    thrifty = replace(STAGE, micro_batch=1, gradient_checkpointing=True)
    assert made._digest(thrifty) == made._digest(STAGE)
    assert made._digest(replace(STAGE, learning_rate=2e-2)) != made._digest(STAGE)
    assert json.loads((made.base(thrifty).folder / "first_stage.json").read_text())["tokens"] > 0


def test_documents_that_hold_validation_rows_are_not_read(
    stages: Callable[..., FirstStages], tmp_path: Path
) -> None:
    path = tmp_path / "leaky.jsonl"
    rows = ["the old iron", "The  old IRON", "some new gold and more"]
    path.write_text("\n".join(json.dumps({"text": row}) for row in rows))

    text = stages(path).corpus

    assert [document.text for document in text.documents] == ["some new gold and more"]
    assert text.leaked == 2


TEXTS = [
    "The quick brown fox.",
    "What is the capital of France? The capital of France is Paris. " * 4,
    "Dogs.",
]
DOCUMENTS = [Example(f"k{line}", line, text=text) for line, text in enumerate(TEXTS, 1)]
TOKENS = [list(range(10, 22)), [30, 31, 32, 33, 34], list(range(50, 59)), [70, 71, 72]]


@pytest.fixture
def task(make_task: Callable[..., Any]) -> Any:
    return make_task(Corpus, {"train": DOCUMENTS}, cap=24)


def test_blocks_hold_all_documents_with_their_ends(task: Any) -> None:
    blocks = task.blocks(DOCUMENTS)

    ends = sum(block["input_ids"].count(task.tokenizer.eos_token_id) for block in blocks)
    whole = sum(len(task.encode_one(document).ids) for document in DOCUMENTS)
    assert ends == len(DOCUMENTS)
    assert sum(len(block["input_ids"]) for block in blocks) == whole
    assert max(len(block["input_ids"]) for block in blocks) <= 24


def test_loss_and_tokens_of_a_batch_of_blocks(task: Any, llama: Any) -> None:
    blocks = task.blocks(DOCUMENTS)
    batch = task.collate(blocks)

    with torch.no_grad():
        together = task.loss(llama, batch)
        apart = [task.loss(llama, task.collate([block])) for block in blocks]

    assert task.loss_terms(batch) == sum(task.loss_terms(task.collate([block])) for block in blocks)
    assert float(together.total) == pytest.approx(
        sum(float(loss.total) for loss in apart), rel=1e-5
    )
    assert task.tokens(batch) == sum(len(block["input_ids"]) for block in blocks)


def test_single_documents_are_scored_by_their_beginnings(task: Any, llama: Any) -> None:
    features = task.encode(DOCUMENTS)

    scores = task.score(llama, task.collate(features))

    assert [len(feature["input_ids"]) for feature in features][1] == 24
    assert scores.weights.tolist() == [len(f["input_ids"]) - 1 for f in features]
    (note,) = task.notes(features, "train")
    assert note.text == "train: 1 of 3 texts lost their end, after 24 tokens"
    assert 0 < int(scores.outputs["answer_bytes"][1]) < len(TEXTS[1])


def test_packed_documents_have_the_losses_that_they_have_alone(language_model: Any) -> None:
    blocks = pack(TOKENS, 16)
    batch = collate_packed(blocks, padding=0)
    assert len(blocks) == 2

    with torch.no_grad():
        logits = language_model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        packed = cross_entropy(
            logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], reduction="none"
        )
        alone = []
        for document in TOKENS:
            ids = torch.tensor([document])
            alone.append(
                cross_entropy(language_model(ids).logits[0, :-1], ids[0, 1:]) * (ids.shape[1] - 1)
            )

    seen = packed[batch["labels"][:, 1:] != -100]
    assert len(seen) == sum(len(document) - 1 for document in TOKENS)
    torch.testing.assert_close(seen.sum(), torch.stack(alone).sum(), rtol=1e-5, atol=1e-4)


def test_changing_one_document_changes_no_other(language_model: Any) -> None:
    def losses(first: list[int]) -> torch.Tensor:
        batch = collate_packed(pack([first, *TOKENS[1:2]], 32), padding=0)
        with torch.no_grad():
            logits = language_model(
                input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
            ).logits
        return logits[0, 12:17]

    torch.testing.assert_close(losses(list(range(10, 22))), losses(list(range(90, 102))))


def test_every_token_is_packed_once_and_documents_begin_anew() -> None:
    blocks = pack(TOKENS, 16)

    tokens = sorted(token for block in blocks for token in block["input_ids"])
    assert tokens == sorted(token for document in TOKENS for token in document)
    assert sum(block["position_ids"].count(0) for block in blocks) == len(TOKENS)
    for block in blocks:
        for token, place, label in zip(
            block["input_ids"], block["position_ids"], block["labels"], strict=True
        ):
            assert label == (-100 if place == 0 else token)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(2, 16))
def test_blocks_are_never_longer_than_asked_and_lose_nothing(
    lengths: list[int], length: int
) -> None:
    blocks = pack([[number] * size for number, size in enumerate(lengths)], length)

    assert all(len(block["input_ids"]) <= length for block in blocks)
    assert sum(len(block["input_ids"]) for block in blocks) == sum(lengths)


def test_short_documents_share_blocks() -> None:
    assert len(pack([[1] * 4] * 4 + [[2] * 12] * 4, 16)) == 4


def test_padding_is_a_document_of_its_own() -> None:
    blocks = [
        {"input_ids": [5, 6], "position_ids": [0, 1], "labels": [-100, 6]},
        {"input_ids": [7], "position_ids": [0], "labels": [-100]},
    ]

    batch = collate_packed(blocks, padding=9)

    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["position_ids"].tolist() == [[0, 1], [0, 0]]
    assert batch["labels"].tolist() == [[-100, 6], [-100, -100]]
    assert batch["real_tokens"].tolist() == [2, 1]
