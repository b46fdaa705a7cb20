"""Memory that one device needs to train: a closed formula, without torch, and its uncertainty."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from sweeper.facts.record import ModelFacts
from sweeper.memory.layers import head_peak, layer_costs, loss_by_rows
from sweeper.memory.setup import LOSS_ROWS, Setup
from sweeper.memory.states import (
    base_weights,
    frozen_parameters,
    knows_optimizer,
    largest_trained,
    layer_parameters,
    optimizer_cost,
    optimizer_states,
    projection_weights,
    trainable_parameters,
)
from sweeper.plans import MemoryEstimate, autocast_dtype
from sweeper.units import GIB

#: Memory that the allocator needs in addition, as a share of the tensors. Measured: on 80 GiB cards
#: runs with 0.945 of the memory in tensors succeeded and runs with 0.955 of it failed
#: (fms-acceleration).
SLACK = 0.03
#: CUDA context and kernels: memory that nvidia-smi shows beyond reserved memory, on Ampere and
#: later GPUs.
CONTEXT_GIB = 0.5
#: Resident size of a Python process with torch, transformers and peft loaded, on a CPU.
#: Measured: 0.51 GiB (torch 2.13, transformers 5.24, peft 0.21).
_PROCESS_GIB = 0.5
#: Growth of a CPU process beyond its tensors: freed memory that malloc keeps, as a share of the
#: tensors of a step, and GiB of thread pools and buffers. Fitted by least squares to 37 trials of
#: MiniLM and SmolLM2-135M, every strategy on every task (``benchmarks/memory``).
_CPU_SLACK, _CPU_BUFFERS_GIB = 0.11, 0.07

#: Name of a part of an estimate: the weights of a trial's best rung, kept in main memory.
_BEST_COPY = "copy of the best weights"
#: Names of the parts of an estimate that are not tensors of a training step.
_OVERHEADS = ("allocator slack", "device context", "process", _BEST_COPY)

#: Smallest and largest number of prompts that a model answers at a time. Keys and values of a 7B
#: model take 0.5 MiB a token, so that 8 texts of 1,000 tokens each stay under 5 GiB.
MIN_PROMPTS, _MAX_PROMPTS = 8, 64
#: Largest share of a GPU's free memory for the keys and values of all these prompts.
_CACHE_SHARE = 0.25


def cache_bytes(layers: int, key_value_width: int, tokens: float) -> float:
    """Bytes of the keys and values of a text of ``tokens`` tokens, in 16 bits."""
    keys_and_values, itemsize = 2.0, 2
    return keys_and_values * itemsize * layers * key_value_width * tokens


def prompts_at_once(cached: float, free: float) -> int:
    """The number of prompts that a GPU answers at a time.

    Args:
        cached: ``cache_bytes`` of a prompt with its answers.
        free: Free bytes of the GPU's memory.
    """
    return int(max(MIN_PROMPTS, min(_MAX_PROMPTS, _CACHE_SHARE * free / cached)))


#: Factors on the estimate between which nine of ten measurements should lie if shape, lengths and
#: library are known, as in a sweep: on a GPU, calibrated on published measurements of tier A
#: (``benchmarks/memory``).
KNOWN = (0.92, 1.12)
#: The same on a CPU, where malloc adds uncertainty.
_ON_CPU = (0.85, 1.2)
#: The same on both, for a model whose layers without attention are counted as attention.
_UNKNOWN = (0.6, 2.6)
#: The workspace that cuBLAS keeps on the device. Measured: memory allocated between steps exceeds
#: the sum of all tensors by 16 MiB (fms-acceleration's benchmarks, A100).
_CUBLAS_BYTES = 16 * 2**20


class StepPhase(NamedTuple):
    """The peak of one phase of a step: bytes by readable name.

    Args:
        parts: All allocated memory.
        held: Bytes that also exist between steps: weights, optimizer states, workspaces.
    """

    name: str
    parts: dict[str, float]
    held: float

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def phases(model: ModelFacts, setup: Setup) -> tuple[StepPhase, ...]:
    """The peak of each phase of a step, and of evaluation if there is any."""
    step = _Step(model, setup)
    peaks = [step.loss(), step.backward_start(), step.backward_end(), step.optimizer()]
    if not setup.traits.gradients_through_base:
        peaks.append(step.features())
    if setup.evaluation_batch:
        peaks.append(step.phase("evaluation", step.held | evaluation_parts(model, setup)))
    return tuple(peaks)


class _Step:
    """The memory of one training step, by phase."""

    def __init__(self, model: ModelFacts, setup: Setup) -> None:
        self.model, self.setup = model, setup
        self.trains_base = setup.traits.trains_base
        self.trainable = trainable_parameters(model, setup)
        gradients = float(self.trainable * setup.trained_bytes)
        # Bytes of gradients that earlier micro-batches left, and of those after the backward pass.
        self.earlier_gradients = gradients if setup.gradient_accumulation_steps > 1 else 0.0
        released = max(1, model.layers) if setup.releases_gradients else 1
        self.remaining_gradients = gradients / released
        self.layers = layer_costs(model, setup)
        self.held = self._permanent_memory()
        # Bytes at the end of the forward pass by readable name.
        self.after_forward = self.held | {
            "gradients": self.earlier_gradients,
            "autocast copies": self._autocast_copies(),
            "activations": self._kept_activations(),
        }

    def phase(self, name: str, parts: dict[str, float]) -> StepPhase:
        return StepPhase(name, parts, sum(self.held.values()))

    def _permanent_memory(self) -> dict[str, float]:
        """Memory that also exists between steps, in bytes by readable name."""
        setup = self.setup
        if self.trains_base:
            parts = {"weights": float(self.model.parameters * setup.trained_bytes)}
        else:
            parts = base_weights(self.model, setup)
            parts["trained weights"] = float(self.trainable * setup.trained_bytes)
            frozen = frozen_parameters(self.model, setup)
            if frozen:
                parts["frozen adapter weights"] = float(frozen * setup.trained_bytes)
        parts["optimizer states"] = optimizer_states(self.model, setup)
        if self.trains_base and setup.extra.reference:
            parts["frozen copy"] = float(self.model.parameters * setup.compute_bytes)
        if setup.gpus > 1:
            parts["gradient buckets"] = float(self.trainable * setup.trained_bytes)
        if setup.device == "cuda":
            parts["library workspace"] = float(_CUBLAS_BYTES)
        return parts

    def _kept_activations(self) -> float:
        """Bytes of activations that all layers keep at the end of the forward pass."""
        if not self.setup.traits.gradients_through_base:
            return 0.0
        checkpointing = self.setup.gradient_checkpointing
        kept = ((cost.entry if checkpointing else cost.kept) * cost.count for cost in self.layers)
        return self.setup.tokens * sum(kept)

    def _autocast_copies(self) -> float:
        """Bytes of 16-bit copies that autocast makes of float32 weights and keeps for the backward
        pass."""
        setup, layers = self.setup, self.model.layers
        if not autocast_dtype(setup.precision):
            return 0.0
        layer_weights = layer_parameters(self.model)
        if self.trains_base:
            return 2.0 * layer_weights * layers
        layers_with_copies = 1 if setup.gradient_checkpointing else layers
        if setup.base_bytes == 4 and setup.quantization is None:
            return 2.0 * layer_weights * layers_with_copies
        # VeRA's layers use slices of shared frozen projections. Autocast does not cache copies of
        # slices, but autograd keeps the copy of each layer.
        projections = projection_weights(self.model, setup) * layers_with_copies / layers
        return 2.0 * (self.trainable + projections)

    def features(self) -> StepPhase:
        """The forward pass of a head on frozen features: computed once, without gradients."""
        feature_setup = self.setup.replace(evaluation_batch=self.setup.micro_batch)
        parts = self.after_forward | evaluation_parts(self.model, feature_setup)
        return self.phase("forward pass", parts)

    def loss(self) -> StepPhase:
        head = self.setup.tokens * head_peak(self.model, self.setup)
        parts = self.after_forward | {"logits and loss": head}
        if self.setup.extra.reference:
            parts["divergence"] = self._divergence()
        return self.phase("loss", parts)

    def _divergence(self) -> float:
        """Bytes of the reference's logits, of both models' log softmaxes in float32, and of the
        gradient of one of them."""
        setup = self.setup
        answer_logits = setup.tokens * setup.answer_fraction * self.model.vocabulary_size
        return answer_logits * (setup.compute_bytes + 3 * 4)

    def backward_start(self) -> StepPhase:
        setup, last_layer = self.setup, self.layers[-1]
        parts = dict(self.after_forward)
        if setup.traits.gradients_through_base:
            already_kept = 0.0 if setup.gradient_checkpointing else last_layer.kept
            parts["backward of one layer"] = setup.tokens * (last_layer.peak - already_kept)
        return self.phase("start of the backward pass", parts)

    def backward_end(self) -> StepPhase:
        setup, first_layer = self.setup, self.layers[0]
        parts = self.held | {"gradients": self.remaining_gradients}
        if setup.traits.gradients_through_base:
            parts["activations"] = setup.tokens * first_layer.entry
            parts["backward of one layer"] = setup.tokens * first_layer.peak
        table = self._embedding_gradient()
        if table > parts.get("backward of one layer", 0.0):
            parts["backward of one layer"] = 0.0
            parts["gradient of the embeddings"] = table
        return self.phase("end of the backward pass", parts)

    def _embedding_gradient(self) -> float:
        """Bytes of the embeddings' gradient if it is added to an existing one, from a tied output
        layer or an earlier micro-batch; otherwise 0."""
        is_tied = self.model.tied_embeddings and not self.setup.classes
        if not self.trains_base or not (is_tied or self.earlier_gradients):
            return 0.0
        return float(self.model.vocabulary_size * self.model.hidden_size * self.setup.trained_bytes)

    def optimizer(self) -> StepPhase:
        cost = optimizer_cost(self.setup.optimizer, self.setup.trained_bytes)
        # torch updates one tensor at a time on a CPU
        foreach = self.trainable * cost.temporary if self.setup.device == "cuda" else 0.0
        largest = largest_trained(self.model, self.setup) * cost.largest
        parts = {"gradients": self.remaining_gradients, "optimizer temporaries": foreach + largest}
        return self.phase("optimizer step", self.held | parts)


def evaluation_parts(model: ModelFacts, setup: Setup) -> dict[str, float]:
    """Peak memory of evaluation, without gradients, in bytes by readable name.

    A loss needs logits in the compute dtype, their float32 copy and its log softmax. Generating
    answers is not counted.
    """
    itemsize = setup.compute_bytes
    length = setup.evaluation_length or setup.sequence_length
    tokens = setup.evaluation_batch * length
    if setup.classes:
        # The residual stream, and the tensors of the MLP.
        mlp_width = model.intermediate_size
        if model.moe is not None:
            mlp_width = model.moe.experts_per_token * model.moe.intermediate_size
        mlp = (3 if model.gated_mlp else 2) * mlp_width
        layer_bytes = 2 * model.hidden_size * setup.residual_bytes + itemsize * mlp
        return {"one layer at work": tokens * layer_bytes}
    logit_tokens = setup.answer_fraction * tokens
    if loss_by_rows(model, setup, trains=False):
        logit_tokens = min(logit_tokens, LOSS_ROWS)
    bytes_per_logit = 8 if itemsize == 4 else itemsize + 8
    return {"evaluation logits": logit_tokens * model.vocabulary_size * bytes_per_logit}


def worst_phase(model: ModelFacts, setup: Setup) -> StepPhase:
    """The phase of a step, or of evaluation, with the most allocated memory."""
    return max(phases(model, setup), key=lambda phase: phase.total)


@lru_cache(maxsize=4096)
def estimate(model: ModelFacts, setup: Setup, limit_gib: float) -> MemoryEstimate:
    """Peak memory that one device must have, in GiB, with its parts and a 90% interval.

    Args:
        limit_gib: Memory of the device, which is only copied into the estimate.
    """
    worst, on_cpu = worst_phase(model, setup), setup.device == "cpu"
    parts = {name: size / GIB for name, size in worst.parts.items() if size > 0}
    tensors = sum(parts.values())
    if on_cpu:
        slack = (tensors - worst.held / GIB) * _CPU_SLACK + _CPU_BUFFERS_GIB
        best_copy = trainable_parameters(model, setup) * setup.trained_bytes / GIB
        parts |= {"allocator slack": slack, "process": _PROCESS_GIB, _BEST_COPY: best_copy}
    else:
        parts |= {"allocator slack": tensors * SLACK, "device context": CONTEXT_GIB}
    peak = sum(parts.values())
    # The allocator slack on a CPU is as uncertain as the tensors; CUDA's context and slack are not.
    fixed = _PROCESS_GIB if on_cpu else peak - tensors
    low, high = (_ON_CPU if on_cpu else KNOWN) if model.attention_only else _UNKNOWN
    return MemoryEstimate(
        peak_gib=peak,
        low_gib=low * (peak - fixed) + fixed,
        high_gib=high * (peak - fixed) + fixed,
        limit_gib=limit_gib,
        parts=parts,
        assumptions=_assumptions(model, setup, worst.name),
    )


def tensors_gib(memory: MemoryEstimate) -> float:
    """The GiB of an estimate that PyTorch counts as allocated."""
    return memory.peak_gib - sum(memory.parts.get(name, 0.0) for name in _OVERHEADS)


def trial_gib(memory: MemoryEstimate) -> float:
    """The GiB of an estimate that a trial measures: memory that PyTorch allocates on a GPU, or the
    growth of the process on a CPU."""
    if "process" in memory.parts:
        return memory.peak_gib - memory.parts["process"]
    return tensors_gib(memory)


def _assumptions(model: ModelFacts, setup: Setup, phase: str) -> tuple[str, ...]:
    falls_back = setup.loss == "by-rows" and not loss_by_rows(model, setup)
    loss = "full" if falls_back else setup.loss
    stacks_experts = model.moe is not None and not setup.experts_are_linear
    unknown_optimizer = not knows_optimizer(setup.optimizer)
    share = f"{setup.answer_fraction:.0%} of the tokens"
    conditions = {
        f"the peak comes in the phase {phase!r}": True,
        f"attention: {setup.attention}, way to compute the loss: {loss}": True,
        "the number of parameters is estimated": not model.parameters_exact,
        "layers without attention are counted as attention": not model.attention_only,
        "routed experts are not quantised": setup.quantization and stacks_experts,
        "4 bits as GPTQ and AWQ pack them, in groups of 128": setup.quantization == "int4",
        "paged optimizer states are counted as host memory": "paged" in setup.optimizer,
        f"{setup.optimizer} is not known: states as large as AdamW's": unknown_optimizer,
        f"logits of {share}: answers among the longest examples": (
            not setup.classes and setup.answer_fraction < 1
        ),
        (model.weights_note or "").rstrip("."): model.weights_note,
    }
    return tuple(note for note, applies in conditions.items() if applies)
