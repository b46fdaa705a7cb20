"""The model that a set-up trains, for measurements without downloaded weights.

The base has the real class and is built on the meta device, without weights. The adapter is real.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from sweeper.errors import ModelError, UsageError
from sweeper.facts.models import catalogue
from sweeper.facts.models.linear_layers import targeted
from sweeper.facts.models.packaged import packaged
from sweeper.facts.record import ModelFacts
from sweeper.hyperparameters import MODULES_TO_SAVE, NO_MODULES, TARGETS
from sweeper.memory.setup import Setup
from sweeper.plans import frozen_dtype
from sweeper.strategies.loading import options_without_pooler
from sweeper.strategies.strategy import Setting, strategy
from sweeper.tasks.classification import Classifier


def config_of(model: ModelFacts) -> PretrainedConfig:
    """The configuration of a model: from its folder, or from the catalogue.

    Raises:
        ModelError: The model has neither.
    """
    if model.folder is not None:
        return AutoConfig.from_pretrained(
            model.folder, trust_remote_code=model.trust_remote_code, local_files_only=True
        )
    catalogue_name = packaged(model.id).catalogue_id if model.source == "packaged" else model.id
    match = catalogue.match(catalogue_name)
    fields = dict(match.entry.config) if match else None
    if model.source == "size":  # the user gave only a number of parameters
        _, typical_config = catalogue.typical(model.parameters)
        fields = dict(typical_config)
    if fields is None:
        raise ModelError(
            f"there is no configuration of {model.id} here",
            why="A measurement builds the real model class.",
            fix="Name a local folder with a config.json, or a model of the catalogue.",
        )
    return CONFIG_MAPPING[str(fields.pop("model_type"))](**fields)


def with_adapter_and_head(
    base: nn.Module, config: PretrainedConfig, model: ModelFacts, setup: Setup, device: torch.device
) -> nn.Module:
    """The base with the strategy's weights, in training mode; with a head for classification.

    Raises:
        UsageError: The base has learnt position embeddings, and fewer than the set-up needs.
    """
    _check_positions(base, model, setup)
    setting = Setting(
        task_type="FEATURE_EXTRACTION" if setup.classes else "CAUSAL_LM",
        precision=setup.precision,
        gradient_checkpointing=setup.gradient_checkpointing,
    )
    with torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = strategy(setup.strategy).apply(base, _parameters(model, setup), setting)
        if setup.classes:
            width = int(config.get_text_config().hidden_size)
            adapted = Classifier(adapted, model.pooling or "cls", width, setup.classes)
    return adapted.to(device).train()


def _check_positions(base: nn.Module, model: ModelFacts, setup: Setup) -> None:
    surplus = setup.positions - model.context_length
    if surplus > 0 and any(
        isinstance(module, nn.Embedding) and name.endswith(_POSITION_TABLES)
        for name, module in base.named_modules()
    ):
        raise UsageError(
            f"{setup.positions:,} positions exceed the {model.context_length:,} of {model.id}",
            why="The model has learnt a vector for each of its positions, and has none for others.",
            fix=f"Give --sequence-length {max(setup.sequence_length - surplus, 1)} or less.",
            where="--sequence-length",
            code="longer-than-context",
        )


def base_of(config: PretrainedConfig, setup: Setup) -> nn.Module:
    """The base of a set-up on the meta device: in its dtype, frozen, not quantised."""
    half_dtype = getattr(torch, frozen_dtype(setup.precision))
    dtype = torch.float32 if setup.base_bytes == 4 else half_dtype
    config.use_cache = setup.traits.adds == "prefix"
    text = config.get_text_config()
    experts = ("num_experts", "num_local_experts", "n_routed_experts")
    if any(hasattr(text, name) for name in experts):
        # transformers' default, also in trainings. If it is set, a class without it is an error.
        config._experts_implementation = "grouped_mm"
    auto: Any = AutoModel if setup.classes else AutoModelForCausalLM
    model_class = auto._model_mapping.get(type(config), None)
    fused = setup.attention != "eager" and getattr(model_class, "_supports_sdpa", False)
    attention = "sdpa" if fused else "eager"
    options = options_without_pooler(model_class) if isinstance(model_class, type) else {}
    with torch.device("meta"):
        base: nn.Module = auto.from_config(
            config, dtype=dtype, attn_implementation=attention, **options
        )
    return base.to(dtype).requires_grad_(False)


# Ends of the names of learnt position embeddings in transformers.
_POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")
# From layers to the value of ``target_modules`` that chooses them, such as "qkvo".
_CHOICE_OF_LAYERS = {layers: choice for choice, layers in TARGETS.items()}


def _parameters(model: ModelFacts, setup: Setup) -> dict[str, Any]:
    """The set-up as parameters of a trial, with which its strategy makes the adapter."""
    targets = setup.target_modules
    if not isinstance(targets, str):
        # Layers that match no named choice are listed by name.
        names = ",".join(sorted({linear.name for linear in targeted(model, targets)}))
        targets = _CHOICE_OF_LAYERS.get(targets, names)
    return {
        "r": setup.r,
        "lora_alpha": 2 * setup.r,
        "lora_dropout": setup.lora_dropout,
        "target_modules": targets,
        MODULES_TO_SAVE: ",".join(setup.modules_to_save) or NO_MODULES,
        "use_dora": setup.use_dora,
        "num_virtual_tokens": setup.num_virtual_tokens,
        "prefix_projection": setup.prefix_projection,
        "encoder_hidden_size": setup.encoder_hidden_size or 0,
        "reduction_factor": setup.reduction_factor,
        "placement": setup.placement,
        **dict(setup.parameters),
    }
