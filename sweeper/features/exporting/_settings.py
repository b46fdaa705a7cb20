"""The settings of one training, which fill the templates of other trainers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.data.examples import Dataset
from sweeper.data.further_rows import choosing_parameters
from sweeper.facts.record import ModelFacts
from sweeper.hyperparameters import (
    ATTENTION,
    PADDING_FREE,
    TARGET_MODULES,
    modules_of,
)
from sweeper.plans import autocast_dtype, half_of
from sweeper.training.loop.schedule import optimizer_steps, rung_steps, schedule
from sweeper.trials import TrialConfig

Settings = Mapping[str, Any]

#: Values at which a setting changes nothing, so that no trainer needs a key for it.
WITHOUT_EFFECT: Mapping[str, Any] = {
    "quantization": None,
    "revision": None,
    "lr_scheduler_kwargs": {},
    "use_rslora": False,
    "use_dora": False,
    "init_lora_weights": "default",
    "loraplus_lr_ratio": 1.0,
    "layerwise_lr_decay": 1.0,
    "replay_share": 0.0,
    "kl_weight": 0.0,
    "class_weight": "none",
    "source_weights": {},
    "chat_template": False,
}
# Of a limit that only stops a training, or of how the same loss is computed on this machine.
_LEFT_OUT = (
    "early_stopping_patience",
    *(PADDING_FREE, ATTENTION),
)
# How many rungs a trial reports at: the number of evaluations of an exported training.
_EVALUATIONS = 8


def settings_of(
    config: TrialConfig,
    facts: ModelFacts,
    dataset: Dataset,
    *,
    model: str,
    target_modules: tuple[str, ...] | None = None,
    chat_template: bool = False,
) -> Settings:
    """Every value of one training, by the name that sweeper has for it.

    Args:
        config: What to train on one device, for as many epochs as the weights had seen.
        target_modules: The layers that the trained adapter has; those that the configuration
            names if None.
        chat_template: Whether one lies beside the configuration.
    """
    parameters: dict[str, Any] = dict(config.parameters)
    batch = config.micro_batch * config.gradient_accumulation_steps
    steps = optimizer_steps(len(dataset.splits["train"]), batch, config.budget.epochs)
    plan = schedule(parameters, steps)
    for name in ("num_train_epochs", "per_device_train_batch_size", "warmup_ratio"):
        parameters.pop(name, None)
    if TARGET_MODULES in parameters:
        named = target_modules or modules_of(str(parameters[TARGET_MODULES]))
        parameters[TARGET_MODULES] = named if isinstance(named, str) else list(named)
    # The rows that a parameter chose are written with the others.
    left_out = (*_LEFT_OUT, *choosing_parameters())
    kept = {name: value for name, value in parameters.items() if not name.startswith(left_out)}
    return {
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        **kept,
        "source_weights": dict(dataset.weights),
        "model": model,
        "chat_template": chat_template,
        "revision": facts.revision,
        "strategy": config.strategy,
        "quantization": config.quantization,
        "sequence_length": config.sequence_length,
        "micro_batch": config.micro_batch,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "effective_batch": batch,
        "evaluation_batch": config.evaluation_batch,
        "epochs": config.budget.epochs,
        "steps": steps,
        "evaluation_steps": min(rung_steps(steps, _EVALUATIONS)),
        "lr_scheduler_type": plan.kind,
        "lr_scheduler_kwargs": dict(plan.options),
        "warmup_steps": plan.warmup_steps,
        "optimizer": config.optimizer,
        "precision": config.precision,
        "base_dtype": _base_dtype(config),
        "gradient_checkpointing": config.gradient_checkpointing,
        "seed": config.seed,
    }


def _base_dtype(config: TrialConfig) -> str:
    """The dtype of the base: fp32 if its weights train, unless all is bf16."""
    half = half_of(config.precision)
    trains_base, mixed = config.strategy == "full", autocast_dtype(config.precision) is not None
    in_fp32 = config.precision == "fp32" or (trains_base and mixed)
    return half if config.quantization or not in_fp32 else "float32"


def with_effect(settings: Settings) -> dict[str, Any]:
    """The settings that have an effect on this training."""
    return {
        name: value
        for name, value in settings.items()
        if name not in WITHOUT_EFFECT or value != WITHOUT_EFFECT[name]
    }
