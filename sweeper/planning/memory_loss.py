"""The output head and the loss: usually the largest single tensors of a small model's step."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.facts.record import ModelFacts
from sweeper.planning.memory_blocks import Recorder
from sweeper.planning.memory_setup import Setup
from sweeper.planning.memory_tape import Value


@dataclass(frozen=True, slots=True)
class HeadCost:
    """Bytes a token from the last block's output to the loss.

    Args:
        kept: What lives between forward and backward.
        forward: The most while the loss is computed.
        backward: The most while it is differentiated.
    """

    kept: float
    forward: float
    backward: float


def head_cost(model: ModelFacts, setup: Setup) -> HeadCost:
    """The final norm, the vocabulary's logits and the cross-entropy.

    ``full`` follows transformers: logits in the compute dtype, their float32 copy, its log
    softmax; then the gradients of both. ``kernel`` keeps full float32 logits and one shifted
    copy, whose gradient is written in place. ``chunked`` keeps logits and their log softmax in
    the compute dtype and upcasts a chunk at a time. ``fused`` never has all logits: Liger works
    on as many tokens at a time as make the chunk no larger than the hidden states.
    """
    recorder = Recorder(model, setup)
    x = Value(model.hidden_size, setup.residual_bytes)
    normed = recorder.norm(x)
    if setup.classes:
        return HeadCost(recorder.tape.kept(), recorder.tape.kept(), recorder.tape.backward_peak())
    source = recorder.cast(normed, 2) if recorder.autocast else normed
    kept = recorder.tape.kept() + (source.size if recorder.trains_base else 0.0)
    item, hidden = source.item, model.hidden_size
    vocabulary = model.vocabulary_size * setup.answer_fraction
    around = kept + 2 * x.size  # the last block's output and its gradient
    if setup.loss == "fused":
        chunk = hidden * (item + 4 + 4)
        return HeadCost(kept, around + chunk, around + chunk + hidden * item)
    if setup.loss == "chunked":
        logits = 2 * item * vocabulary
        return HeadCost(kept + logits, around + logits, around + logits)
    if setup.loss == "kernel":
        return HeadCost(kept + 8 * vocabulary, around + 8 * vocabulary, around + 8 * vocabulary)
    upcast = 0 if item == 4 else item
    forward = kept + (upcast + 8) * vocabulary
    return HeadCost(kept + 4 * vocabulary, forward, kept + 12 * vocabulary)
