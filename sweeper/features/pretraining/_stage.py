"""The first stage: trains the base on a corpus, once for all trials with equal settings."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, set_seed

from sweeper.artifact import Artifact
from sweeper.backend import ProgressReporter
from sweeper.cache import home, make_once
from sweeper.data.examples import Example
from sweeper.errors import UsageError
from sweeper.evaluation.evaluator import Evaluator, TokenizedSplit
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import TrainingSetup
from sweeper.features.parts import MadeBase
from sweeper.features.pretraining._corpus import CorpusText, corpus_text
from sweeper.features.pretraining._facts import (
    FIRST_STAGE,
    FIRST_STAGE_RANK,
    FIRST_STAGE_RATES,
    NO_FIRST_STAGE,
    StageRecord,
)
from sweeper.features.pretraining.options import Options
from sweeper.plans import Precision, autocast_dtype
from sweeper.spec import Scalar
from sweeper.strategies.strategy import Setting
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.domain import pack_pieces, shared_blocks
from sweeper.tasks.sequences.answer_logits import answer_losses
from sweeper.tasks.sequences.chat import Encoded, document, split_tokens
from sweeper.tasks.task import Batch, Feature, LossSum
from sweeper.tasks.text import TextTask
from sweeper.training.base_model.base_lender import load_base, set_gradient_checkpointing
from sweeper.training.base_model.bases import FOLDER, Bases
from sweeper.training.loop.batch_order import LengthGroupedBatches
from sweeper.training.loop.device_memory import release_memory
from sweeper.training.loop.schedule import optimizer_steps
from sweeper.training.loop.trainer import TrialTrainer, arguments
from sweeper.training.loop.training_progress import TrainingProgress, finite
from sweeper.trials import TrialConfig


class Corpus(TextTask):
    """Trains on every token of blocks of packed documents, but scores single documents.

    Positions start at 0 in each document of a block; given positions and no padding mask,
    transformers lets a token attend within its own document only.
    """

    name = "continued pretraining"

    def encode_one(self, example: Example) -> Encoded:
        return document(self.tokenizer, example.text or example.answer)

    def blocks(self, examples: Sequence[Example]) -> list[Feature]:
        """All documents in full, packed into blocks."""
        documents = [self.encode_one(example).ids for example in examples]
        return pack(documents, self.sequence_length)

    def collate(self, features: Sequence[Feature]) -> Batch:
        if "position_ids" in features[0]:
            return collate_packed(features, self.padding)
        return super().collate(features)

    def tokens(self, batch: Batch) -> int:
        return int(batch["real_tokens"].sum()) if "real_tokens" in batch else super().tokens(batch)

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        if "position_ids" not in batch:
            return super().loss(model, batch)
        inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
        return LossSum(answer_losses(model, inputs, batch["labels"]).sum())


def pack(documents: Sequence[Sequence[int]], length: int) -> list[Feature]:
    """Blocks that hold all documents.

    A document that is longer than a block is cut into pieces. Then the longest piece not yet
    placed goes into the fullest block that has room for it (best fit decreasing,
    arXiv:2404.10830).

    Args:
        documents: Token ids, each with its own beginning and end tokens.
        length: Length of a block, in tokens.

    Returns:
        Features with ``input_ids``, ``position_ids`` and ``labels``, each at most ``length`` long.
        A piece's first token is not a label, since no token of its document precedes it.
    """
    pieces = [list(piece) for document in documents for piece in split_tokens(document, length)]
    blocks = shared_blocks(list(map(len, pieces)), length)
    return [pack_pieces([pieces[index] for index in block]) for block in blocks]


def collate_packed(features: Sequence[Feature], padding: int) -> Batch:
    """One batch of blocks. Padding has positions of its own, like a document, and no labels."""
    longest = max(len(feature["input_ids"]) for feature in features)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "position_ids": [], "labels": []}
    for feature in features:
        padding_count = longest - len(feature["input_ids"])
        rows["input_ids"].append([*feature["input_ids"], *[padding] * padding_count])
        rows["position_ids"].append([*feature["position_ids"], *range(padding_count)])
        rows["labels"].append([*feature["labels"], *[-100] * padding_count])
    batch = {name: torch.tensor(values) for name, values in rows.items()}
    sizes = [len(feature["input_ids"]) for feature in features]
    return batch | {"real_tokens": torch.tensor(sizes)}


# File in the folder of a base: a ``StageFile``.
RECORD = "first_stage.json"
# Continued pretraining by LoRA takes high ranks on all layers (arXiv:2405.09673, section 4).
_LORA: dict[str, Scalar] = {
    "r": FIRST_STAGE_RANK,
    "lora_alpha": 2 * FIRST_STAGE_RANK,
    "target_modules": "all-linear",
}
# Documents that are held out, to measure the loss before and after the stage.
_HELD_OUT_DOCUMENTS = 20
_SEED = 0


@dataclass(frozen=True)
class FirstStage:
    """Settings of a first stage. Equal ones on the same base and corpus are trained only once.

    Args:
        strategy: ``full``, or ``lora``, which is merged into the base afterwards.
        blocks: Blocks of ``sequence_length`` tokens in one optimizer step.
        micro_batch: Blocks in one forward pass.
        precision: A mixed precision computes in 16 bits on fp32 weights; others mean fp32.
    """

    strategy: str
    learning_rate: float
    num_train_epochs: float
    blocks: int
    micro_batch: int
    precision: Precision
    sequence_length: int
    gradient_checkpointing: bool = False

    @classmethod
    def of(cls, config: TrialConfig, micro_batch: int) -> FirstStage | None:
        """The stage of a trial's parameters; None if ``first_stage`` is ``none``."""
        parameters = config.parameters
        strategy = str(parameters.get(FIRST_STAGE, NO_FIRST_STAGE))
        if strategy == NO_FIRST_STAGE:
            return None
        blocks = int(parameters["first_stage_blocks"])
        sizes = (size for size in range(1, micro_batch + 1) if blocks % size == 0)
        return cls(
            strategy=strategy,
            learning_rate=float(parameters[FIRST_STAGE_RATES[strategy]]),
            num_train_epochs=float(parameters["first_stage_epochs"]),
            blocks=blocks,
            micro_batch=max(sizes),
            precision=config.setup.precision,
            sequence_length=config.setup.sequence_length,
            gradient_checkpointing=config.setup.gradient_checkpointing,
        )

    @property
    def parameters(self) -> dict[str, Scalar]:
        strategy_parameters = _LORA if self.strategy == "lora" else {}
        return {"learning_rate": self.learning_rate, "weight_decay": 0.0, **strategy_parameters}


class StageFile(Artifact, StageRecord):
    """``first_stage.json`` in the folder of a base.

    Args:
        stage: The ``FirstStage`` as a dictionary.
        held_out: Number of held-out documents.
        process: Id of the process that trained the base.
    """

    stage: dict[str, Any]
    held_out: int
    process: int


class FirstStages:
    """The first stages of one base model, each run on first use."""

    def __init__(self, bases: Bases) -> None:
        self._bases, self._context = bases, bases.context

    def base(self, stage: FirstStage) -> MadeBase:
        """The base after this stage, which is run now if necessary.

        Raises:
            UsageError: The sweep has no corpus.
            Interrupted: The trial was told to stop.
            TrainingDiverged: The loss is not finite.
        """
        message = "waiting for a base that another process trains"
        target = home() / FOLDER / self._digest(stage)
        exists = StageFile.read_or_none(target / RECORD) is not None
        if not exists:
            self._bases.make_room()
        folder = make_once(
            target,
            lambda folder: self._run(stage, folder),
            lambda path: StageFile.read_or_none(path / RECORD) is not None,
            lambda: self._context.on_progress(message, 0, 0),
        )
        if not exists:
            release_memory()  # the trained model, which its Trainer holds in a reference cycle
        file = StageFile.read(folder / RECORD)
        ran_here = not exists and file.process == os.getpid()
        return MadeBase(folder, StageRecord.taken_from(file), file.seconds if ran_here else 0.0)

    @cached_property
    def corpus(self) -> CorpusText:
        """The documents to train on.

        Raises:
            UsageError: The sweep has no corpus, or no document is left.
        """
        context = self._context
        spec, options = context.spec, context.spec.features.of(Options)
        text = corpus_text(options, spec.data, context.dataset) if options.corpus else None
        if text is None or not text.documents:
            raise UsageError(
                "a trial has a first stage, but the sweep has no corpus for it",
                why="" if text is None else "All documents share text with validation or test.",
                fix="Name one with --corpus, or set first_stage to none.",
            )
        return text

    def _digest(self, stage: FirstStage) -> str:
        facts, folder = self._context.facts, self._context.folder
        parts = {
            # These change the memory, not the result.
            "stage": {**asdict(stage), "micro_batch": None, "gradient_checkpointing": None},
            "model": [facts.id, facts.revision],
            "weights": weights_state(folder),
            "corpus": self.corpus.fingerprint,
        }
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def _run(self, stage: FirstStage, folder: Path) -> None:
        context = self._context
        task = Corpus(
            context.dataset,
            context.tokenizer,
            context.facts,
            context.task.spec,
            stage.sequence_length,
        )
        documents = self.corpus.documents
        held_out_count = min(_HELD_OUT_DOCUMENTS, len(documents) // 10)
        start = time.perf_counter()
        base = load_base(context.folder, "CAUSAL_LM", torch.float32, context.device)
        mixed_precision = autocast_dtype(stage.precision)
        scoring = context.on_progress.steps("scoring the corpus")
        held_out, batch = TokenizedSplit(task, documents[:held_out_count]), context.evaluation_batch
        evaluator = Evaluator(task, held_out, batch, mixed_precision, scoring)
        before = evaluator.evaluate(base).loss if held_out_count else None
        blocks = task.blocks(documents[held_out_count:])
        base, progress = _train(stage, task, blocks, base, folder, context.on_progress)
        after = finite(evaluator.evaluate(base).loss, "held-out loss") if held_out_count else None
        base.save_pretrained(str(folder))
        context.tokenizer.save_pretrained(str(folder))
        StageFile(
            strategy=stage.strategy,
            stage=asdict(stage),
            documents=len(documents) - held_out_count,
            held_out=held_out_count,
            held_out_loss_before=before,
            held_out_loss_after=after,
            optimizer_steps=progress.steps,
            tokens=progress.tokens,
            seconds=time.perf_counter() - start,
            process=os.getpid(),
        ).write(folder / RECORD)


def _train(
    stage: FirstStage,
    task: Corpus,
    blocks: list[dict[str, Any]],
    base: nn.Module,
    folder: Path,
    on_progress: ProgressReporter,
) -> tuple[Any, TrainingProgress]:
    """Train the base on all blocks, and return it with its training progress."""
    strategy = strategy_named(stage.strategy)
    set_seed(_SEED)
    adapted = strategy.apply(
        base, stage.parameters, Setting("CAUSAL_LM", precision=stage.precision, seed=_SEED)
    )
    set_gradient_checkpointing(base, stage.gradient_checkpointing)
    steps = optimizer_steps(len(blocks), stage.blocks, stage.num_train_epochs)
    progress = TrainingProgress()
    accumulation_steps = stage.blocks // stage.micro_batch
    setup = TrainingSetup(
        micro_batch=stage.micro_batch, gradient_accumulation_steps=accumulation_steps
    )
    device = next(base.parameters()).device
    settings = arguments(folder, setup, stage.parameters, steps, _SEED, device)
    TrialTrainer(
        model=adapted,
        task=task,
        features=blocks,
        order=LengthGroupedBatches([len(b["input_ids"]) for b in blocks], stage.blocks, _SEED),
        strategy=strategy,
        parameters=stage.parameters,
        progress=progress,
        mixed_dtype=autocast_dtype(stage.precision),
        settings=settings,
        callbacks=[_Steps(progress, steps, on_progress)],
    ).train()
    set_gradient_checkpointing(base, False)
    merged: Any = adapted.merge_and_unload() if hasattr(adapted, "merge_and_unload") else adapted
    return merged.requires_grad_(False), progress


class _Steps(TrainerCallback):
    """Counts and reports optimizer steps; ``on_progress`` raises if the trial is told to stop."""

    def __init__(
        self, progress: TrainingProgress, steps: int, on_progress: ProgressReporter
    ) -> None:
        self._progress, self._steps, self._on_progress = progress, steps, on_progress

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._progress.step()
        self._on_progress("reading the corpus", self._progress.steps, self._steps)
