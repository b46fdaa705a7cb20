"""The blocks of a transformer, recorded on a tape as the operations of transformers.

Sizes of values are per token. Those that are saved follow from the operations and from traits of
the family's code; nothing is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sweeper.facts.models.families import Role, family_like
from sweeper.facts.models.linear_layers import targeted
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.memory.tape import Tape, Value
from sweeper.plans import autocast_dtype

Norm = Literal["rms", "rms_wide", "layer", "layer_wide"]
Activation = Literal["silu", "gelu", "gelu_composed", "relu"]


@dataclass(frozen=True, slots=True)
class BlockTraits:
    """Traits of a family's block that affect memory and do not follow from its shape.

    Args:
        norm: ``rms`` computes in float32 on a copy, as transformers' RMSNorm does; ``rms_wide``
            also multiplies with its weights in float32. ``layer`` is PyTorch's fused kernel,
            ``layer_wide`` a LayerNorm written out in tensor operations.
        rope: Whether queries and keys are rotated, which creates new tensors.
        activation: ``gelu_composed`` is the tanh formula written out in tensor operations.
        post_norm: Whether norms follow the residual sums, as in BERT.
        fused_views: Whether queries, keys and values from one projection are views of it.
        fused_attention: Whether the family supports SDPA; else its attention is eager.
        dropout: Whether the usual config has dropout on hidden states and attention weights.
        capped: Whether logits and attention scores pass through a tanh, which keeps its result.
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
    """The traits of the model's family, or of the most similar known family."""
    nearest = _BERT if model.kind == "encoder" else BlockTraits() if model.gated_mlp else _NEOX
    return _TRAITS.get(model.model_type, nearest)


class Recorder:
    """Records layers of one set-up, with its precision, trained weights and adapters."""

    def __init__(self, model: ModelFacts, setup: Setup) -> None:
        self.model = model
        self.setup = setup
        self.block_traits = traits(model)
        self.family = family_like(model.model_type, model.kind, model.gated_mlp)
        self.tape = Tape()
        self.autocast = autocast_dtype(setup.precision) is not None
        self.trains_base = setup.traits.trains_base
        self.keeps_wide_inputs = (
            setup.quantization is not None and setup.quantized_layers_keep_inputs
        )
        roles = self._roles(setup.target_modules)
        addition = setup.traits.adds
        no_roles: frozenset[Role] = frozenset()
        self._lora_roles = roles if addition == "low-rank" else no_roles
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

    def cast(self, x: Value, item: float) -> Value:
        """``x`` cast to ``item`` bytes per number; ``x`` itself if it has them already."""
        if x.item == item:
            return x
        y = Value(x.elements, item)
        self.tape.record([y], [x])
        return y

    def linear(self, role: Role, x: Value, outputs: float) -> Value:
        """A linear layer, with its LoRA branch if it has one."""
        source = self.cast(x, 2) if self.autocast else x
        if role in self._rescaled_input_roles:
            wide_input = self.cast(source, self.setup.trained_bytes)
            scaled = Value(source.elements, wide_input.item)
            self.tape.record([scaled], [wide_input], [wide_input])
            source = self.cast(scaled, source.item)
        y = Value(outputs, source.item)
        self.tape.record([y], [source], [source] if self.trains_base else self._kept_by_frozen(x))
        if role in self._rescaled_roles:
            scaled = Value(outputs, y.item)
            self.tape.record([scaled], [y], [y])
            y = scaled
        if role in self._projected_roles:
            return self._scaled_projections(x, y)
        return self._low_rank(x, y) if role in self._lora_roles else y

    def carries_adapter(self, role: Role) -> bool:
        """Whether linear layers of that role have a LoRA branch."""
        return role in self._lora_roles

    def _kept_by_frozen(self, x: Value) -> list[Value]:
        """Values that a frozen layer keeps: none, or its input in float32, in which bitsandbytes'
        4-bit layer computes by default."""
        return [Value(x.elements, 4)] if self.keeps_wide_inputs else []

    def _adapter_input(self, x: Value) -> Value:
        """The input as the adapter gets it: PEFT casts it to the dtype of trained weights, unless
        autocast is on and that cast is switched off."""
        keeps_dtype = self.autocast and not self.setup.widened_inputs
        return x if keeps_dtype else self.cast(x, self.setup.trained_bytes)

    def _low_rank(self, x: Value, base: Value) -> Value:
        setup = self.setup
        source = self._adapter_input(x)
        if setup.lora_dropout:
            source = self.dropout(source)
        low = self.cast(source, 2) if self.autocast else source
        middle = Value(setup.r, low.item)
        self.tape.record([middle], [low], [low])
        delta = Value(base.elements, low.item)
        self.tape.record([delta], [middle], [middle])
        delta = self.cast(delta, base.item)
        y = Value(base.elements, base.item)
        if setup.use_dora:  # the magnitude multiplies both results, so both are kept
            self.tape.record([y], [base, delta], [base, delta])
        else:
            self.tape.record([y], [base, delta], shares_gradient=True)
        return y

    def _scaled_projections(self, x: Value, base: Value) -> Value:
        """Frozen projections with trained vectors (VeRA): only the vectors keep their inputs."""
        source = self._adapter_input(x)
        low = self.cast(source, 2) if self.autocast else source
        middle = Value(self.setup.r, low.item)
        self.tape.record([middle], [low])
        scaled = Value(self.setup.r, max(low.item, self.setup.trained_bytes))
        self.tape.record([scaled], [middle], [middle])
        wide = Value(base.elements, low.item)
        self.tape.record([wide], [scaled])
        delta = Value(base.elements, max(low.item, self.setup.trained_bytes))
        self.tape.record([delta], [wide], [wide])
        return self.add(base, self.cast(delta, base.item))

    def dropout(self, x: Value) -> Value:
        """Dropout: a mask with one byte per element, or in x's dtype on a CPU."""
        y = Value(x.elements, x.item)
        mask = Value(x.elements, 1 if self.setup.device == "cuda" else x.item)
        self.tape.record([y], [x], [mask])
        return y

    def norm(self, x: Value) -> Value:
        """RMSNorm or LayerNorm as in transformers' code of the family."""
        kind = self.block_traits.norm
        if kind == "layer":
            return self._layer_norm(x)
        wide_input = self.cast(x, 4)
        centred = (
            [Value(x.elements, 4), Value(x.elements, 4)] if kind == "layer_wide" else [wide_input]
        )
        normed = Value(x.elements, 4)
        saves = [*centred, Value(1, 4)]
        self.tape.record([normed], [wide_input], saves, workspace=wide_input.size)
        if kind == "rms":  # narrows first, then multiplies with the weights
            normed = self.cast(normed, x.item)
        y = Value(x.elements, normed.item)
        self.tape.record([y], [normed], [normed] if self.trains_base else [])
        return self.cast(y, x.item)

    def _layer_norm(self, x: Value) -> Value:
        """LayerNorm by PyTorch's fused kernel."""
        source = self.cast(x, 4) if self.autocast else x
        y = Value(x.elements, source.item)
        self.tape.record([y], [source], [source, Value(2, 4)])
        return y

    def add(self, a: Value, b: Value) -> Value:
        """A sum, as in a residual connection; the wider dtype wins."""
        y = Value(a.elements, max(a.item, b.item))
        inputs = [self.cast(a, y.item), self.cast(b, y.item)]
        self.tape.record([y], inputs, shares_gradient=True)
        return y

    def rotate(self, x: Value) -> Value:
        """Rotary position embedding: the products with sines and cosines make a new tensor."""
        y = Value(x.elements, self.setup.residual_bytes if self.autocast else x.item)
        self.tape.record([y], [x], workspace=2 * y.size)
        return y

    def activate(self, x: Value) -> Value:
        kind = self.block_traits.activation
        if kind == "gelu_composed":
            return self._composed_gelu(x)
        y = Value(x.elements, x.item)
        self.tape.record([y], [x], [y if kind == "relu" else x])
        return y

    def _composed_gelu(self, x: Value) -> Value:
        """GELU by the tanh formula: keeps x, x/2, tanh and 1 + tanh; autocast cubes in float32."""
        wide = self.cast(x, 4) if self.autocast else x
        y = Value(x.elements, wide.item)
        kept = [wide, Value(x.elements, x.item), *(Value(x.elements, wide.item) for _ in "ab")]
        self.tape.record([y], [wide], kept, workspace=2 * wide.size)
        return y

    def multiply(self, a: Value, b: Value) -> Value:
        """An elementwise product, which keeps both factors."""
        y = Value(a.elements, max(a.item, b.item))
        self.tape.record([y], [a, b], [a, b])
        return y
