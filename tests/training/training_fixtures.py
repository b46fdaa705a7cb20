"""Fixtures: tiny models on disk, a data set of simple sentences, and what a trial needs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from sweeper.backend import Decision, ProgressReporter
from sweeper.data.examples import Dataset, Example, Message, digest
from sweeper.facts.record import DataFacts, Facts, HardwareFacts, ModelFacts, TrainingSetup
from sweeper.plans import Budget, Candidate, Duration, MemoryEstimate, Plan, TrialBudget
from sweeper.runfolder import RunFolder
from sweeper.spec import AimSpec, DataSpec, ModelSpec, Spec
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.torch_backend import make
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, TrialConfig

TOPICS = {
    "fruit": ("apple", "pear", "plum", "cherry"),
    "metal": ("iron", "zinc", "gold", "copper"),
    "river": ("nile", "rhine", "volga", "tiber"),
}
FILLERS = ("the", "a", "some", "old", "new", "near", "with", "about", "big", "small")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLERS, *(w for ws in TOPICS.values() for w in ws))


def sentences(count: int, seed: int) -> tuple[Example, ...]:
    """Short texts of several lengths; one word gives the class away."""
    chance = random.Random(seed)
    rows = []
    for line in range(count):
        label = chance.choice(sorted(TOPICS))
        words = [chance.choice(FILLERS) for _ in range(chance.randint(1, 7))]
        words.insert(chance.randint(0, len(words)), chance.choice(TOPICS[label]))
        text = " ".join(words)
        rows.append(
            Example(key=digest(f"{seed} {line} {text}"), line=line + 1, text=text, label=label)
        )
    return tuple(sorted(rows, key=lambda row: row.key))


@pytest.fixture(scope="module")
def byte_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama that reads bytes."""
    path = tmp_path_factory.mktemp("bytes")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>")
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=1024,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def topics() -> Dataset:
    """Three classes, decided by one word."""
    return Dataset(
        path="topics.jsonl",
        format="text-label",
        evidence=(),
        columns={"text": "text", "label": "label"},
        splits={
            "train": sentences(96, 1),
            "validation": sentences(40, 2),
            "test": sentences(30, 3),
        },
        origins={"train": "official", "validation": "official", "test": "official"},
        labels=tuple(sorted(TOPICS)),
        fingerprint="f" * 64,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )


_SIZE: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A BERT and a Llama with random weights, each with its tokenizer."""
    folders = {}
    for kind, config in (("bert", BertConfig(**_SIZE)), ("llama", LlamaConfig(**_SIZE))):
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        auto = AutoModel if kind == "bert" else AutoModelForCausalLM
        auto.from_config(config).save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
        folders[kind] = folder
    return folders


def facts_of(kind: str, folder: Path) -> ModelFacts:
    return ModelFacts(
        id=str(folder),
        source="local",
        folder=str(folder),
        model_type=kind,
        kind="encoder" if kind == "bert" else "decoder",
        parameters=10_000,
        parameters_exact=False,
        layers=2,
        hidden_size=32,
        attention_heads=4,
        key_value_heads=4,
        head_dim=8,
        intermediate_size=48,
        vocabulary_size=len(WORDS),
        context_length=32,
        tied_embeddings=False,
        gated_mlp=kind == "llama",
        pooling="mean" if kind == "bert" else None,
    )


@pytest.fixture
def make_shared(topics: Dataset, model_folders: dict[str, Path]) -> Callable[..., SharedModel]:
    """A shared model of its own, so that a test may break it."""

    def make(kind: str = "bert", dataset: Dataset = topics) -> SharedModel:
        folder = model_folders[kind]
        named = ModelSpec(id=str(folder))
        spec = Spec(task="classification", models=(named,))
        facts = facts_of(kind, folder)
        return SharedModel(
            ModelContext(named, facts, folder, dataset, spec, 16, 16, torch.device("cpu"))
        )

    return make


LORA: dict[str, Any] = {
    "r": 4,
    "lora_alpha": 8,
    "target_modules": "qkvo",
    "learning_rate": 5e-3,
    "head_learning_rate": 1e-2,
}


@pytest.fixture
def make_config() -> Callable[..., TrialConfig]:
    """A LoRA trial of two epochs in four rungs, unless told otherwise."""

    def make(**changes: Any) -> TrialConfig:
        budget = {"epochs": 2, "full_tokens": 1000, "rungs": 4, "rung_items": 20}
        fields: dict[str, Any] = {
            "number": 3,
            "seed": 0,
            "origin": "search",
            "task": "classification",
            "strategy": "lora",
            "model": "tiny",
            "parameters": LORA,
            "budget": TrialBudget(**(budget | changes.pop("budget", {}))),
        }
        setup = {
            "micro_batch": 8,
            "evaluation_batch": 16,
            "precision": "fp32",
            "sequence_length": 16,
        }
        setup |= {name: changes.pop(name) for name in TrainingSetup.model_fields if name in changes}
        return TrialConfig(**(fields | changes), setup=TrainingSetup(**setup))

    return make


class Heard(list[tuple[str, int, int]]):
    """All that long work tells: a second seems to lie between any two messages."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self.on_progress = ProgressReporter(lambda *message: self.append(message), self._clock)

    def _clock(self) -> float:
        self._seconds += 1.0
        return self._seconds

    def of(self, what: str) -> list[int]:
        """The steps that were told of one piece of work."""
        return [done for said, done, _ in self if said == what]


@pytest.fixture
def heard() -> Heard:
    """Collects what is told to its ``on_progress``."""
    return Heard()


class Reports(list[RungReport]):
    """Collects reports and answers them."""

    def __init__(self, **answers: Decision) -> None:
        super().__init__()
        self.answers = {int(rung.removeprefix("rung_")): answer for rung, answer in answers.items()}

    def __call__(self, report: RungReport) -> Decision:
        self.append(report)
        return self.answers.get(report.rung, Decision.CONTINUE)


@pytest.fixture
def answering() -> type[Reports]:
    """Makes a collector of reports; ``rung_2=Decision.PRUNE`` sets an answer."""
    return Reports


@pytest.fixture
def make_job(
    make_shared: Callable[..., SharedModel],
    make_config: Callable[..., TrialConfig],
    tmp_path: Path,
) -> Callable[..., TrialJob]:
    """A job in a folder of its own."""

    def make(
        shared: SharedModel | None = None,
        report: Reports | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        **changes: Any,
    ) -> TrialJob:
        folder = tmp_path / f"attempt-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        collect = Reports() if report is None else report
        shared = shared or make_shared()
        shared.context.on_progress.should_stop = should_stop
        return TrialJob(shared, make_config(**changes), folder, collect)

    return make


MEMORY = MemoryEstimate(peak_gib=1, low_gib=1, high_gib=1, limit_gib=8, parts={})
TIME = Duration(seconds=1, low=1, high=1)


@pytest.fixture
def kind() -> str:
    """Which of the tiny models the backend trains."""
    return "bert"


@pytest.fixture
def backend(make_shared, topics, tmp_path, kind):
    shared: SharedModel = make_shared(kind)
    data = tmp_path / "data"
    data.mkdir()
    for split, rows in topics.splits.items():
        lines = [json.dumps({"text": row.text, "label": row.label}) for row in rows]
        (data / f"{split}.jsonl").write_text("\n".join(lines))
    facts, model = shared.context.facts, shared.context.facts.id
    candidate = Candidate(
        strategy="lora",
        model=model,
        reasons=(),
        memory=MEMORY,
        duration=TIME,
        setup=TrainingSetup(
            micro_batch=8,
            gradient_accumulation_steps=1,
            evaluation_batch=16,
            gradient_checkpointing=False,
            precision="fp32",
            sequence_length=16,
        ),
        trainable_parameters=1,
        parameters={},
    )
    plan = Plan(
        facts=Facts(
            task="classification",
            models=(facts,),
            data=DataFacts(rows=166, train_rows=96),
            hardware=HardwareFacts(
                device="cpu", name="CPU", detected=True, gpus=0, memory_gib=8, bf16=False
            ),
            aim=AimSpec(),
        ),
        recommended="lora",
        candidates=(candidate,),
        rejected=(),
        budget=Budget(
            trials=3,
            epochs=2,
            full_tokens=1000,
            phases={"search": TIME, "confirmation": TIME},
            sweep=TIME,
            finalists=1,
            confirmation_seeds=3,
        ),
        seed=0,
    )
    spec = Spec(task="classification", models=(ModelSpec(id=model),), data=DataSpec(path=str(data)))
    backend = make(RunFolder(tmp_path / "run"), plan, spec, lambda _what, _done, _of: None)
    yield backend
    backend.close()


@pytest.fixture
def config(backend, make_config):
    return lambda **changes: make_config(
        model=backend._plan.candidates[0].model, keep_weights=True, **changes
    )


@pytest.fixture
def turns() -> Callable[[int, int], tuple[Example, ...]]:
    """Makes so many short conversations; another offset gives other digests."""

    def made(count: int, offset: int) -> tuple[Example, ...]:
        said = [f"{n % 5}" * 3 for n in range(count)]
        return tuple(
            Example(
                digest(f"{offset} {n}"),
                n + 1,
                messages=(Message("user", f"say {answer} {n}"), Message("assistant", answer)),
            )
            for n, answer in enumerate(said)
        )

    return made
