"""The interface of a strategy: which weights train, their learning rates, and how they are saved.

It does not depend on the task: a classification head, if there is one, is not part of it.
"""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn

import sweeper.strategies as package
from sweeper.errors import UsageError
from sweeper.packages import find, find_all
from sweeper.plans import Precision, autocast_dtype, frozen_dtype
from sweeper.spec import Scalar
from sweeper.strategies.targets import load_in_float32, restore_modules, use_float32_copies
from sweeper.traits.traits import STRATEGIES

# Task types as PEFT spells them.
TaskType = Literal["CAUSAL_LM", "FEATURE_EXTRACTION"]
Parameters = Mapping[str, Scalar]
# Attribute of PEFT's layers. If true, they cast their input to float32, which autocast would undo.
_CAST_ATTRIBUTE = "cast_input_dtype_enabled"


@dataclass(frozen=True)
class Setting:
    """The input of a strategy besides its own parameters.

    Args:
        task_type: ``FEATURE_EXTRACTION`` for a classifier's base.
        precision: Precision of the trial. See ``Strategy.base_dtype``.
        seed: Seed of the trial; torch's generator is seeded with it just before ``apply``.
        tokenizer: The base's tokenizer, for strategies that start from a text.
    """

    task_type: TaskType
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    seed: int = 0
    tokenizer: Any = None


class Strategy(ABC):
    """One way to fine-tune. Subclasses are stateless; all state is in the adapted module.

    A subclass in ``strategies/<name>.py`` with ``name = "<name>"`` is discovered automatically; its
    parameters and their ranges are ``search_spaces/strategies/<name>.yaml``.
    """

    name: ClassVar[str]
    gradient_trained: ClassVar[bool] = True
    """False if the strategy is fitted on features of the frozen base, without the Trainer."""
    saves_whole_model: ClassVar[bool] = False
    """True if the saved files can be used without the base."""
    for_usual_classes: ClassVar[bool] = True
    """False if classes of transformers and PEFT would load the saved files but give other answers
    than the trial."""

    @abstractmethod
    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        """Adapt the base, and set ``requires_grad`` on exactly the weights to train.

        Args:
            model: The base (``AutoModel`` or ``AutoModelForCausalLM``), frozen. It may
                be changed in place; ``remove`` undoes the change.
            parameters: All parameters of the strategy by name.
            setting: Further input, such as the task type and the precision.

        Returns:
            The module to call instead of the base, with the same inputs and kind of output. Virtual
            tokens may lengthen its token states at the front, so callers count from the end.
        """

    @abstractmethod
    def remove(self, adapted: nn.Module) -> nn.Module:
        """Undo ``apply``: return the base, frozen.

        If ``changes_base``, its weights still hold trained values; the caller restores them.
        """

    @abstractmethod
    def save(self, adapted: nn.Module, folder: Path) -> None:
        """Write the trained weights, and no others, as safetensors."""

    @abstractmethod
    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """The adapted module, frozen, from the frozen base and the files that ``save`` wrote."""

    def changes_base(self, parameters: Parameters) -> bool:
        """Whether the base's own weights change and must be restored after the trial."""
        return False

    def base_dtype(self, precision: Precision) -> torch.dtype:
        """The dtype in which the base is loaded.

        Mixed precision keeps fp32 master weights of trained weights. Frozen weights need none, so
        they are in 16 bits. A strategy that trains the base itself overrides this.
        """
        half_dtype: torch.dtype = getattr(torch, frozen_dtype(precision))
        return torch.float32 if precision == "fp32" else half_dtype

    def quantization_config(
        self, parameters: Parameters, *, dtype: torch.dtype = torch.bfloat16
    ) -> Any:
        """The quantisation config of transformers to load the base with; None for no quantisation.

        Args:
            dtype: The result of ``base_dtype``.
        """
        return None

    def merge(self, adapted: nn.Module) -> nn.Module:
        """The base with the trained change merged into its own weights.

        Args:
            adapted: The adapted model on a base in float32; it may be changed in place.

        Raises:
            UsageError: The strategy does not train a change of the base's weights.
        """
        raise UsageError(
            f"{self.name} cannot be merged",
            why="It does not change the base's own weights.",
            fix="Use the trained model with its parts: sweeper.load reads weights/ of the trial.",
            code="no-merge",
        )

    def merged(self, adapted: nn.Module) -> AbstractContextManager[None]:
        """A context in which generation is faster, since the adapter is merged into the base.

        It is merged only if that rounds no more than its precision does, and unmerged afterwards.
        """
        return nullcontext()

    def base_output(self, adapted: nn.Module) -> AbstractContextManager[nn.Module]:
        """A context with the model as it was before ``apply``, for forward passes without gradient.

        A backward pass inside would be wrong: it would recompute checkpointed activations without
        the adapters.

        Raises:
            UsageError: The base no longer exists, since its own weights are trained.
        """
        raise UsageError(
            f"{self.name} cannot give the outputs of its base model",
            why="The base's own weights are trained.",
            fix="Compare with a frozen copy.",
        )

    def learning_rate(self, name: str, parameters: Parameters) -> float:
        """The peak learning rate of a trained weight of the base, given by its full name."""
        return float(parameters["learning_rate"])

    def parameter_groups(
        self, model: nn.Module, parameters: Parameters, head: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """The parameter groups of the optimizer, with all trained weights.

        Biases and vectors (norms, gains) have no weight decay, as is usual since BERT
        (arXiv:1810.04805, appendix A.2, as released). The head has ``head_learning_rate``. Each
        layer's rate is ``layerwise_lr_decay`` times the rate of the layer above (arXiv:1801.06146,
        section 3.2).

        Args:
            parameters: ``learning_rate`` and optionally ``weight_decay``,
                ``head_learning_rate`` and ``layerwise_lr_decay``.
            head: Names in ``model`` that belong to a new head.

        Returns:
            Groups with ``params``, ``lr`` and ``weight_decay``, in a fixed order.
        """
        weight_decay = float(parameters.get("weight_decay", 0.0))
        layer_decay = float(parameters.get("layerwise_lr_decay", 1.0))
        above = layers_above(model)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, weight in model.named_parameters():
            if not weight.requires_grad:
                continue
            if name in head:
                rate = float(parameters.get("head_learning_rate", parameters["learning_rate"]))
            else:
                rate = self.learning_rate(name, parameters) * layer_decay ** above(name)
            groups.setdefault((rate, weight_decay if weight.ndim > 1 else 0.0), []).append(weight)
        return [
            {"params": weights, "lr": rate, "weight_decay": decay}
            for (rate, decay), weights in groups.items()
        ]


class PeftStrategy(Strategy):
    """A strategy that is a PEFT method: a subclass only has to define the PEFT config."""

    @abstractmethod
    def peft_config(self, model: nn.Module, parameters: Parameters, setting: Setting) -> PeftConfig:
        """The PEFT config of this method for this base."""

    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        config = self.peft_config(model, parameters, setting)
        with warnings.catch_warnings():
            # PEFT 0.21 reads an attribute that transformers 5.24 has deprecated.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            # The warning is about merging into tied embeddings; bottlenecks are never merged.
            warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
            adapted: nn.Module = get_peft_model(
                model, config, autocast_adapter_dtype=setting.precision != "bf16-pure"
            )
        if setting.precision != "bf16-pure":
            use_float32_copies(adapted)
        if autocast_dtype(setting.precision) is not None:
            for module in adapted.modules():
                if hasattr(module, _CAST_ATTRIBUTE):
                    setattr(module, _CAST_ATTRIBUTE, False)
        return adapted

    @contextmanager
    def base_output(self, adapted: nn.Module) -> Iterator[nn.Module]:
        assert isinstance(adapted, PeftModel)
        with adapted.disable_adapter():
            yield adapted

    def remove(self, adapted: nn.Module) -> nn.Module:
        assert isinstance(adapted, PeftModel)
        restore_modules(adapted)
        base: nn.Module = adapted.unload()
        for mark in ("peft_config", "peft_type"):  # attributes that PEFT leaves on the base
            if mark in vars(base):
                delattr(base, mark)
        return base.requires_grad_(False)

    def save(self, adapted: nn.Module, folder: Path) -> None:
        assert isinstance(adapted, PeftModel)
        adapted.save_pretrained(str(folder), save_embedding_layers=False)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted: nn.Module = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        load_in_float32(adapted, folder)
        return adapted.requires_grad_(False)


def _layer_number(name: str) -> int | None:
    match = re.search(r"(?:^|\.)(\d+)\.", name)
    return int(match[1]) if match else None


def layers_above(model: nn.Module) -> Callable[[str], int]:
    """A function from a weight's name to the number of layers above it.

    It is 0 in the last layer, after it, and in a model without numbered layers. Embeddings are
    below all layers.
    """
    order = [name for name, _ in model.named_parameters()]
    numbers = [number for name in order if (number := _layer_number(name)) is not None]
    count = max(numbers, default=-1) + 1
    first = next((index for index, name in enumerate(order) if _layer_number(name) is not None), 0)
    names_below = set(order[:first])

    def above(name: str) -> int:
        number = _layer_number(name)
        if number is not None:
            return count - 1 - number
        return count if name in names_below else 0

    return above


def strategy(name: str) -> Strategy:
    """The strategy with that name.

    Raises:
        UsageError: There is no such strategy; the error suggests the nearest name.
    """
    return find(package, Strategy, STRATEGIES, name)()


def strategies() -> dict[str, Strategy]:
    """All strategies by name."""
    return {name: kind() for name, kind in find_all(package, Strategy, STRATEGIES).items()}
