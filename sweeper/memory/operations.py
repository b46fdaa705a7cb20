"""A symbolic autograd tape, and the operations of transformers that are recorded on it.

Sizes of values are per token. Values that are saved for the backward pass follow from PyTorch's
rules and from traits of the family's code; nothing is fitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from sweeper.facts.models.linear_layers import Role, family_like, targeted
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.plans import autocast_dtype

Norm = Literal["rms", "rms_wide", "layer", "layer_wide"]
Activation = Literal["silu", "gelu", "gelu_composed", "relu"]


@dataclass(frozen=True, slots=True)
class BlockTraits:
    """Traits of a family's block that affect memory and do not follow from its shape.

    Args:
        norm: ``rms`` normalises a float32 copy, as transformers' RMSNorm does; ``rms_wide`` also
            multiplies with its weights in float32. ``layer`` is PyTorch's fused LayerNorm kernel,
            ``layer_wide`` a LayerNorm written out in tensor operations.
        rope: Whether queries and keys are rotated, which creates new tensors.
        activation: ``gelu_composed`` is the tanh formula written out in tensor operations.
        post_norm: Whether norms follow the residual sums, as in BERT.
        fused_views: Whether queries, keys and values from one projection are views of its output.
        fused_attention: Whether the family supports SDPA; otherwise its attention is eager.
        dropout: Whether the usual config has dropout on hidden states and attention weights.
        capped: Whether logits and attention scores pass through a tanh, which saves its result.
    """

    norm: Norm = "rms"
    rope: bool = True
    activation: Activation = "silu"
    dropout: bool = False
    post_norm: bool = False
    fused_views: bool = True
    fused_attention: bool = True
    capped: bool = False


_NEOX = BlockTraits(norm="layer", activation="gelu")
_GEMMA = BlockTraits(norm="rms_wide", activation="gelu")
_GPT2 = BlockTraits(norm="layer", rope=False, activation="gelu_composed", dropout=True)
_GPTJ = BlockTraits(norm="layer", activation="gelu_composed")
_BERT = BlockTraits(norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True)

#: Family traits, from the models' code in transformers; families that are not listed
#: count as Llama if they are gated decoders, else as GPT-NeoX or BERT.
_TRAITS: dict[str, BlockTraits] = {
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, capped=True, fused_attention=False),
    "gpt_oss": BlockTraits(fused_attention=False),
    "gemma3": _GEMMA,
    "gemma3_text": _GEMMA,
    "olmo2": BlockTraits(norm="rms_wide"),
    "olmo3": BlockTraits(norm="rms_wide"),
    "cohere": BlockTraits(norm="layer_wide"),
    "cohere2": BlockTraits(norm="layer_wide"),
    "arcee": BlockTraits(activation="relu"),
    "apertus": BlockTraits(activation="relu"),
    "nemotron": BlockTraits(norm="layer", activation="relu"),
    "persimmon": BlockTraits(norm="layer", activation="relu"),
    "stablelm": BlockTraits(norm="layer"),
    "phi": _GPTJ,
    "gptj": _GPTJ,
    "codegen": _GPTJ,
    "gpt2": _GPT2,
    "gpt_bigcode": replace(_GPT2, activation="gelu"),
    "opt": replace(_GPT2, activation="relu"),
    "mpt": replace(_NEOX, rope=False, fused_attention=False),
    "bloom": replace(_NEOX, rope=False, fused_attention=False),
    "falcon": replace(_NEOX, fused_views=False),
    "mpnet": replace(_BERT, fused_attention=False),
    "deberta-v2": replace(_BERT, fused_attention=False),
    "modernbert": _NEOX,
    "t5": BlockTraits(rope=False, activation="gelu_composed", dropout=True),
}


def traits(model: ModelFacts) -> BlockTraits:
    """The traits of the model's family; of a known family of the same kind if it has none."""
    nearest = _BERT if model.kind == "encoder" else BlockTraits() if model.gated_mlp else _NEOX
    return _TRAITS.get(model.model_type, nearest)


class Value:
    """A tensor of ``elements`` numbers per token, ``itemsize`` bytes each; compared by identity.

    ``nbytes`` is its size in bytes per token.
    """

    __slots__ = ("elements", "itemsize", "nbytes")

    def __init__(self, elements: float, itemsize: float) -> None:
        self.elements = elements
        self.itemsize = itemsize
        self.nbytes = elements * itemsize


class _Operation(NamedTuple):
    output: Value
    inputs: Sequence[Value]
    saves: frozenset[Value]
    workspace: float
    shares_gradient: bool


class Tape:
    """Operations in forward order, each with the values that it saves for the backward pass."""

    def __init__(self) -> None:
        self._operations: list[_Operation] = []

    def record(
        self,
        inputs: Sequence[Value],
        *,
        saves: Sequence[Value] = (),
        elements: float | None = None,
        itemsize: float | None = None,
        saves_output: bool = False,
        workspace: float = 0.0,
        shares_gradient: bool = False,
    ) -> Value:
        """Add an operation; returns its output.

        Args:
            inputs: Values that get gradients.
            saves: Values kept for the backward pass; one that several operations save counts once.
            elements: Numbers of the output per token; None for those of the first input.
            itemsize: Bytes of each number of the output; None for that of the first input.
            saves_output: Whether the output is kept as well.
            workspace: Temporary bytes per token of the backward pass.
            shares_gradient: Whether the gradient of every input is the output's gradient itself (a
                sum, a view), which takes no memory.
        """
        output = Value(
            inputs[0].elements if elements is None else elements,
            inputs[0].itemsize if itemsize is None else itemsize,
        )
        kept = frozenset([*saves, output] if saves_output else saves)
        self._operations.append(_Operation(output, inputs, kept, workspace, shares_gradient))
        return output

    def kept(self) -> float:
        """Bytes per token that are kept from the end of the forward to the backward pass."""
        saved_values = {value for operation in self._operations for value in operation.saves}
        return sum(value.nbytes for value in saved_values)

    def backward_peak(self) -> float:
        """Peak bytes per token of the backward pass: values still kept, and the gradients of one
        operation and of the residual stream.

        Tracking every gradient instead changes the peaks of 8,960 set-ups by at most 3%.
        """
        save_counts = Counter(value for operation in self._operations for value in operation.saves)
        residual = self._operations[-1].output.nbytes
        peak = kept = self.kept()
        for operation in reversed(self._operations):
            values = () if operation.shares_gradient else {operation.output, *operation.inputs}
            gradients = sum(value.nbytes for value in values)
            peak = max(peak, kept + residual + gradients + operation.workspace)
            for value in operation.saves:
                save_counts[value] -= 1
                if not save_counts[value]:
                    kept -= value.nbytes
        return peak


class Recorder(Tape):
    """A tape of the layers of one set-up, with its precision, trained weights and adapters."""

    def __init__(self, model: ModelFacts, setup: Setup) -> None:
        super().__init__()
        self.model = model
        self.setup = setup
        self.block_traits = traits(model)
        self.family = family_like(model.model_type, model.kind, model.gated_mlp)
        self.autocast = autocast_dtype(setup.precision) is not None
        self.trains_base = setup.traits.trains_base
        roles = self._roles(setup.target_modules)
        addition = setup.traits.adds
        no_roles: frozenset[Role] = frozenset()
        self.lora_roles = roles if addition == "low-rank" else no_roles
        self._projected_roles = roles if addition == "scaled-projections" else no_roles
        self._rescaled_roles = roles if setup.rescales_outputs else no_roles
        self._rescaled_input_roles = no_roles
        # A term of the strategy's number of trained parameters stands for a vector in each of these
        # modules, as long as the module's inputs or outputs (IA3).
        for term in setup.traits.trained.terms if addition == "scaling" else ():
            modules = setup.target_modules if term.each == "target_layer" else term.each
            if "inputs" in term.names:
                self._rescaled_input_roles |= self._roles(modules)
            else:
                self._rescaled_roles |= self._roles(modules)

    def _roles(self, modules: tuple[str, ...] | str) -> frozenset[Role]:
        linears = targeted(self.model, modules, self.setup.experts_are_linear)
        return frozenset(linear.role for linear in linears)

    def cast(self, x: Value, itemsize: float) -> Value:
        """``x`` cast to ``itemsize`` bytes per number; ``x`` itself if it has that size already."""
        return x if x.itemsize == itemsize else self.record([x], itemsize=itemsize)

    def autocast16(self, x: Value) -> Value:
        """``x`` as autocast gives it to matrix products: in 16 bits. Without autocast, ``x``."""
        return self.cast(x, 2) if self.autocast else x

    def autocast32(self, x: Value) -> Value:
        """``x`` as autocast gives it to operations in float32. Without autocast, ``x``."""
        return self.cast(x, 4) if self.autocast else x

    def linear(self, role: Role, x: Value, outputs: float) -> Value:
        """A linear layer, with its adapter if it has one."""
        source = self.autocast16(x)
        if role in self._rescaled_input_roles:
            wide_input = self.cast(source, self.setup.trained_bytes)
            source = self.cast(self.record([wide_input], saves=[wide_input]), source.itemsize)
        saves = [source] if self.trains_base else self._kept_by_frozen(x)
        y = self.record([source], saves=saves, elements=outputs)
        if role in self._rescaled_roles:
            y = self.record([y], saves=[y])
        if role in self._projected_roles:
            return self._scaled_projections(x, y)
        return self._low_rank(x, y) if role in self.lora_roles else y

    def _kept_by_frozen(self, x: Value) -> list[Value]:
        """Values that a frozen layer keeps: none, or the input of a 4-bit layer, which bitsandbytes
        casts to float32 by default."""
        keeps_input = self.setup.quantization and self.setup.quantized_layers_keep_inputs
        return [Value(x.elements, 4)] if keeps_input else []

    def _adapter_input(self, x: Value) -> Value:
        """``x`` as the adapter gets it: PEFT casts it to the dtype of trained weights, unless
        autocast is on and that cast is switched off."""
        keeps_dtype = self.autocast and not self.setup.widened_inputs
        return x if keeps_dtype else self.cast(x, self.setup.trained_bytes)

    def _low_rank(self, x: Value, base: Value) -> Value:
        """The sum of the base layer's output and its LoRA branch."""
        source = self._adapter_input(x)
        low = self.autocast16(self.dropout(source) if self.setup.lora_dropout else source)
        middle = self.record([low], saves=[low], elements=self.setup.r)
        delta = self.record([middle], saves=[middle], elements=base.elements)
        delta = self.cast(delta, base.itemsize)
        if self.setup.use_dora:  # the magnitude multiplies both results, so both are kept
            return self.record([base, delta], saves=[base, delta])
        return self.record([base, delta], shares_gradient=True)

    def _scaled_projections(self, x: Value, base: Value) -> Value:
        """The sum of the base layer's output and frozen projections with trained vectors (VeRA):
        only the vectors keep their inputs."""
        low = self.autocast16(self._adapter_input(x))
        itemsize = max(low.itemsize, self.setup.trained_bytes)
        middle = self.record([low], elements=self.setup.r)
        scaled = self.record([middle], saves=[middle], itemsize=itemsize)
        wide = self.record([scaled], elements=base.elements, itemsize=low.itemsize)
        delta = self.record([wide], saves=[wide], itemsize=itemsize)
        return self.add(base, self.cast(delta, base.itemsize))

    def dropout(self, x: Value) -> Value:
        """Dropout: a mask with one byte per element, or in x's dtype on a CPU."""
        mask = Value(x.elements, 1 if self.setup.device == "cuda" else x.itemsize)
        return self.record([x], saves=[mask])

    def norm(self, x: Value) -> Value:
        """RMSNorm or LayerNorm as in transformers' code of the family."""
        kind = self.block_traits.norm
        if kind == "layer":  # PyTorch's fused kernel
            source = self.autocast32(x)
            return self.record([source], saves=[source, Value(2, 4)])
        wide_input = self.cast(x, 4)
        saved = Value(2 * x.elements, 4) if kind == "layer_wide" else wide_input
        normed = self.record([wide_input], saves=[saved, Value(1, 4)], workspace=wide_input.nbytes)
        if kind == "rms":  # is cast back before the product with the weights
            normed = self.cast(normed, x.itemsize)
        y = self.record([normed], saves=[normed] if self.trains_base else [])
        return self.cast(y, x.itemsize)

    def add(self, a: Value, b: Value) -> Value:
        """A sum, as in a residual connection; the wider dtype wins."""
        itemsize = max(a.itemsize, b.itemsize)
        return self.record([self.cast(a, itemsize), self.cast(b, itemsize)], shares_gradient=True)

    def rotate(self, x: Value) -> Value:
        """Rotary position embedding: the products with sines and cosines make a new tensor."""
        itemsize = self.setup.residual_bytes if self.autocast else x.itemsize
        return self.record([x], itemsize=itemsize, workspace=2 * x.elements * itemsize)

    def activate(self, x: Value) -> Value:
        """The MLP's activation function; ``gelu_composed`` keeps x, x/2, tanh and 1 + tanh."""
        kind = self.block_traits.activation
        if kind == "gelu_composed":
            wide = self.autocast32(x)  # autocast computes the cube in float32
            kept = [wide, Value(x.elements, x.itemsize), Value(2 * x.elements, wide.itemsize)]
            return self.record([wide], saves=kept, workspace=2 * wide.nbytes)
        is_relu = kind == "relu"
        return self.record([x], saves=[] if is_relu else [x], saves_output=is_relu)

    def multiply(self, a: Value, b: Value) -> Value:
        """An elementwise product, which keeps both factors."""
        return self.record([a, b], saves=[a, b], itemsize=max(a.itemsize, b.itemsize))
