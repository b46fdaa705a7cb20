"""Tiny base models of many architectures, and what every gradient-trained strategy must hold to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    FalconConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    ModernBertConfig,
    Phi3Config,
    Qwen2Config,
)

from sweeper.strategies.loading import keep_trainable, options_without_pooler
from sweeper.strategies.strategy import Setting, strategy
from sweeper.tasks.classification import pool

_VOCABULARY = 97
_SIZE = {"vocab_size": _VOCABULARY, "hidden_size": 64, "num_attention_heads": 4}
_COMMON = _SIZE | {"intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 64}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SHORT = {"vocab_size": _VOCABULARY, "n_layer": 2, "n_head": 4}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**_COMMON, num_key_value_heads=2),
    "qwen2": lambda: Qwen2Config(**_COMMON, num_key_value_heads=2),
    "gpt2": lambda: GPT2Config(**_SHORT, **_TOKENS, n_embd=64, n_positions=64),
    "gpt_neox": lambda: GPTNeoXConfig(**_COMMON),
    "phi3": lambda: Phi3Config(**_COMMON, **_TOKENS, num_key_value_heads=2),
    "falcon": lambda: FalconConfig(**_SIZE, num_hidden_layers=2),
    "bloom": lambda: BloomConfig(**_SHORT, hidden_size=64),
    "mixtral": lambda: MixtralConfig(**_COMMON, num_key_value_heads=2, num_local_experts=2),
    "bert": lambda: BertConfig(**_COMMON),
    "albert": lambda: AlbertConfig(**_COMMON, embedding_size=32),
    "modernbert": lambda: ModernBertConfig(
        **_COMMON, **_TOKENS, cls_token_id=1, sep_token_id=2, local_attention=8
    ),
}
ENCODERS = ("bert", "albert", "modernbert")


def _base(kind: str, task_type: str | None = None, **options: Any) -> nn.Module:
    """A frozen base as trials get it; the same weights each time for the same arguments."""
    config = CONFIGS[kind]()
    config.use_cache = False
    auto = _auto(task_type or _task_type(kind))
    options |= options_without_pooler(auto._model_mapping[type(config)])
    torch.manual_seed(0)
    model = auto.from_config(config, **options)
    return model.requires_grad_(False).eval()


def _task_type(kind: str) -> str:
    return "FEATURE_EXTRACTION" if kind in ENCODERS else "CAUSAL_LM"


def _auto(task_type: str) -> Any:
    return AutoModel if task_type == "FEATURE_EXTRACTION" else AutoModelForCausalLM


@pytest.fixture(scope="session")
def tiny_base() -> Callable[..., nn.Module]:
    return _base


@pytest.fixture(scope="session")
def batch() -> dict[str, Tensor]:
    """Three rows of nine tokens, the second one padded on the right."""
    ids = torch.randint(3, _VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


class Contract:
    """Runs one strategy through a training's life and checks what must hold at each point.

    Args:
        batch: What it is trained on.
        folder: For what it saves.
    """

    def __init__(self, batch: dict[str, Tensor], folder: Path) -> None:
        self.batch = batch
        self.folder = folder

    def check(
        self,
        name: str,
        kind: str,
        parameters: dict[str, Any],
        trainable: int,
        task_type: str | None = None,
        **setting: Any,
    ) -> None:
        """Loss falls, only what shall train changes, as much trains as planned, what was saved
        gives the same outputs, and the base comes back exactly.

        Args:
            name: Of the strategy.
            kind: Of the base.
            parameters: Of the strategy.
            trainable: How many weights must train.
            task_type: The base's usual one if None.
            setting: Of the trial.
        """
        task_type = task_type or _task_type(kind)
        tuning = strategy(name)
        base = self.base(name, kind, task_type)
        outputs, weights = self.outputs(base), hashes(base)
        torch.manual_seed(0)
        adapted = tuning.apply(base, parameters, Setting(task_type, **setting))

        chosen = {n for n, weight in adapted.named_parameters() if weight.requires_grad}
        assert sum(adapted.get_parameter(n).numel() for n in chosen) == trainable

        before, loss = hashes(adapted), self.loss(adapted.eval())
        self.train(adapted, tuning.parameter_groups(adapted, parameters))
        after = hashes(adapted)
        assert self.loss(adapted) < loss
        assert {n for n in before if before[n] != after[n]} == chosen

        trained = self.outputs(adapted)
        tuning.save(adapted, self.folder)
        assert self.outputs(adapted).equal(trained)
        loaded = tuning.load(self.base(name, kind, task_type), self.folder).eval()
        if parameters.get("prefix_projection"):  # a product per row before, and a stored one now
            torch.testing.assert_close(self.outputs(loaded), trained, rtol=1e-4, atol=1e-5)
        else:
            assert self.outputs(loaded).equal(trained)
        assert not any(weight.requires_grad for weight in loaded.parameters())

        returned = tuning.remove(adapted)
        assert returned is base
        if tuning.changes_base(parameters):  # the caller restores its weights
            returned.load_state_dict(self.base(name, kind, task_type).state_dict())
        assert hashes(base) == weights
        assert self.outputs(base).equal(outputs)
        assert not any(weight.requires_grad for weight in base.parameters())

    def base(self, name: str, kind: str, task_type: str) -> nn.Module:
        """The frozen base as the strategy wants it loaded."""
        quantized = strategy(name).quantization_config({})
        model = _base(kind, task_type)
        if quantized is None:
            return model
        folder = self.folder / f"base-{kind}-{task_type}"
        model.save_pretrained(folder)
        options = {"dtype": torch.bfloat16, "quantization_config": quantized}
        options |= options_without_pooler(type(model))
        model = _auto(task_type).from_pretrained(folder, config=model.config, **options)
        keep_trainable(model)  # before the base is evaluated here
        return model.requires_grad_(False).eval()

    def outputs(self, model: nn.Module) -> Tensor:
        """Logits or states over the input's own tokens."""
        with torch.no_grad():
            found: Tensor = model(**self.batch)[0]
        return found[:, -self.batch["input_ids"].shape[1] :]

    def loss(self, adapted: nn.Module) -> Tensor:
        """Of the next tokens, or of three classes under a head that does not train."""
        ids = self.batch["input_ids"]
        found = adapted(**self.batch)
        if "logits" in found:
            logits = found.logits[:, -ids.shape[1] :].float()
            return cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        states = found.last_hidden_state[:, -ids.shape[1] :]
        pooled = pool(states, self.batch["attention_mask"], "mean")
        head = torch.linspace(0, 300, 3 * 64).sin().view(3, 64)
        return cross_entropy(pooled @ head.T, torch.arange(3))

    def train(self, adapted: nn.Module, groups: list[dict[str, Any]], steps: int = 10) -> None:
        """A few steps on the one batch, with an evaluation after each."""
        optimizer = torch.optim.AdamW(groups)
        for _ in range(steps):
            self.loss(adapted.train()).backward()
            optimizer.step()
            optimizer.zero_grad()
            self.outputs(adapted.eval())


def hashes(model: nn.Module) -> dict[str, str]:
    """A digest of each weight's bytes, by name."""
    return {
        name: hashlib.sha256(weight.detach().contiguous().view(torch.uint8).numpy()).hexdigest()
        for name, weight in model.named_parameters()
    }


@pytest.fixture
def contract(batch: dict[str, Tensor], tmp_path: Path) -> Contract:
    return Contract(batch, tmp_path)
