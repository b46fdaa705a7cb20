"""A model for one trial: base, strategy and head put together, and taken apart again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import set_seed

from sweeper.evaluation.baselines import Probe
from sweeper.hyperparameters import ATTENTION, PADDING_FREE, SDPA
from sweeper.strategies.loading import quiet_library
from sweeper.strategies.strategy import Setting, Strategy
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import Classifier
from sweeper.tasks.sequences.joined import ATTENTION_BY_TEXT
from sweeper.training.base_model.base_lender import BaseLender, set_gradient_checkpointing
from sweeper.training.base_model.bases import find_base
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial.artifacts import load_trained, record_of
from sweeper.trials import TrialConfig

log = logging.getLogger(__name__)


def start_head(model: Classifier, probe: Probe) -> None:
    """Initialise the head with the weights of the frozen probe."""
    model.head.set_logits(torch.from_numpy(probe.weight), torch.from_numpy(probe.bias))


@contextmanager
def _with_attention(base: Any, config: TrialConfig) -> Iterator[None]:
    """A context in which the base has the trial's attention, or its usual one if unavailable."""
    parameters, original = config.parameters, base.config._attn_implementation
    candidates = [ATTENTION_BY_TEXT] if parameters.get(PADDING_FREE) else []
    kernel = str(parameters.get(ATTENTION, SDPA))
    if kernel != SDPA and config.setup.precision != "fp32":  # FlashAttention has no fp32
        candidates.insert(0, kernel)
    with quiet_library():
        for name in candidates:
            try:
                base.set_attn_implementation(name)
                break
            except (ImportError, ValueError) as error:
                log.warning("attention is not %s: %s", name, str(error).splitlines()[0])
    try:
        yield
    finally:
        with quiet_library():
            base.set_attn_implementation(original)


@contextmanager
def assembled(
    shared: SharedModel,
    strategy: Strategy,
    config: TrialConfig,
    base_lender: BaseLender | None = None,
) -> Iterator[nn.Module]:
    """A context with the model to train, built from the base's own weights and the trial's seed.

    The base is restored afterwards, also after an error.

    Args:
        base_lender: Lender of the base; the one of ``shared`` if None.
    """
    base_lender = base_lender or shared.context.base_lender
    parameters = config.parameters
    # Before the adapter is added, since frozen features need the base without one.
    from_probe = parameters.get("head_init") == "probe"
    probe = shared.frozen_features.probe_for(parameters).probe if from_probe else None
    sample = shared.frozen_features.sample
    dtype = strategy.base_dtype(config.setup.precision)
    quantized = strategy.quantization_config(parameters, dtype=dtype)
    trains_base = strategy.changes_base(parameters)
    base = base_lender.lend(dtype, quantized, will_change=trains_base)
    returned = base
    try:
        set_seed(config.seed)
        adapted = strategy.apply(base, parameters, _setting(shared, config))
        try:
            # After the adapter: otherwise PEFT would add a hook to the base's embeddings. Only the
            # reentrant variant needs that hook, and it would outlive the adapter.
            set_gradient_checkpointing(base, config.setup.gradient_checkpointing)
            # Seeded again, so that a head starts the same with every strategy.
            set_seed(config.seed)
            model = shared.context.task.assemble(adapted, parameters)
            if isinstance(model, Classifier) and sample is not None:
                model.head.normalise(torch.from_numpy(sample))
                if probe is not None:
                    start_head(model, probe)
            with _with_attention(base, config):
                yield model
        finally:
            returned = strategy.remove(adapted)
    finally:
        set_gradient_checkpointing(base, on=False)
        base_lender.give_back(returned, changed=trains_base)


@contextmanager
def trained(shared: SharedModel, folder: Path) -> Iterator[nn.Module]:
    """A context with the model of a trial's saved weights.

    Args:
        folder: ``weights/`` of a trial.

    Raises:
        UsageError: The folder has no trained weights, or their base is missing.
    """
    record = record_of(folder)
    strategy = strategy_named(record.strategy)
    dtype = getattr(torch, record.base_dtype)
    quantized = strategy.quantization_config(record.parameters, dtype=dtype)
    base_lender = shared.context.base_lender
    if record.base is not None:
        base_lender = shared.prepared_bases.base_lender(record.base, find_base(record.base, folder))
    base = base_lender.lend(dtype, quantized)
    try:
        model = load_trained(folder, base)
        try:
            yield model
        finally:
            strategy.remove(model.base if isinstance(model, Classifier) else model)
    finally:
        base_lender.give_back(base)


def _setting(shared: SharedModel, config: TrialConfig) -> Setting:
    return Setting(
        task_type=shared.context.task.task_type,
        precision=config.setup.precision,
        gradient_checkpointing=config.setup.gradient_checkpointing,
        seed=config.seed,
        tokenizer=shared.context.tokenizer,
    )
