"""Whatever the facts are: what a plan proposes fits, with the margin, all over its range."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.errors import NothingFits
from sweeper.facts.record import LatentAttention, MixtureOfExperts
from sweeper.hyperparameters import modules_of
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.planner import ranked_candidates
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import Candidate, Parameter
from sweeper.traits.traits import known_strategies

BOOK = rule_book()
NAMES = known_strategies()
MOE = MixtureOfExperts(experts=16, experts_per_token=2, intermediate_size=2048, layers=30)
MLA = LatentAttention(
    q_lora_rank=None, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
)
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"moe": MOE},
    {"mla": MLA},
    {"parallel_blocks": True, "gated_mlp": False},
    {"attention_only": False},
    {"vocabulary_size": 256_000, "tied_embeddings": True},
    {"model_type": "gemma2", "head_dim": 256},
    {"key_value_heads": 1},
)
LENGTHS = st.integers(16, 4096).map(
    lambda n: {"mean": n / 2, "p50": n // 2, "p90": n, "p99": n, "longest": n}
)


def chosen(draw: Any, parameter: Parameter) -> Any:
    """A value of the parameter's best-practice range."""
    if not parameter.searched:
        return parameter.default
    if parameter.choices is not None:
        return draw(st.sampled_from(parameter.choices))
    low, high = parameter.low, parameter.high
    assert low is not None
    assert high is not None
    return draw(st.sampled_from([low, (low + high) / 2, high]))


def setup_of(draw: Any, candidate: Candidate, device: str, classes: int) -> Setup:
    """The candidate's set-up with any configuration of its range."""
    fields: dict[str, Any] = {}
    for name, parameter in candidate.parameters.items():
        value = chosen(draw, parameter)
        if name in ("r", "num_virtual_tokens", "encoder_hidden_size", "reduction_factor"):
            fields[name] = int(value)
        elif name in ("use_dora", "prefix_projection"):
            fields[name] = bool(value)
        elif name == "lora_dropout":
            fields[name] = float(value)
        elif name == "target_modules":
            fields[name] = modules_of(str(value))
        elif name == "placement":
            fields[name] = str(value)
    return Setup(
        strategy=candidate.strategy,
        micro_batch=candidate.setup.micro_batch,
        gradient_accumulation_steps=candidate.setup.gradient_accumulation_steps,
        gradient_checkpointing=candidate.setup.gradient_checkpointing,
        sequence_length=candidate.setup.sequence_length,
        loss="by-rows",
        precision=candidate.setup.precision,
        quantization=candidate.setup.quantization,  # type: ignore[arg-type]
        optimizer=candidate.setup.optimizer,
        evaluation_batch=candidate.setup.evaluation_batch,
        classes=classes,
        device=device,  # type: ignore[arg-type]
        **fields,
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_configuration_of_every_candidate_fits_with_the_margin(scene: Any, data: Any) -> None:
    draw = data.draw
    task = draw(st.sampled_from(["instruction", "code", "classification"]))
    facts: dict[str, Any] = {
        "task": task,
        "model": draw(st.sampled_from(["smollm2", "7B", "13B", "70B"])),
        "rows": draw(st.sampled_from([60, 500, 3_000, 20_000, 300_000])),
        "gpu_gib": draw(st.sampled_from([None, 8.0, 16.0, 24.0, 48.0, 80.0, 141.0])),
        "gpus": draw(st.sampled_from([1, 2, 8])),
        "labels": draw(st.integers(2, 90)) if task == "classification" else 0,
        "model_changes": draw(st.sampled_from(SHAPES)),
        "lengths": draw(LENGTHS),
        "aim": draw(st.sampled_from([{}, {"strategies": NAMES}])),
    }
    spec, known = scene(**facts)
    try:
        candidates, rejected = ranked_candidates(BOOK, spec, known)
    except NothingFits:
        return
    hardware = known.hardware
    for candidate in candidates:
        setup = setup_of(draw, candidate, hardware.device, len(known.data.labels))
        found = estimate(known.models[0], setup, hardware.memory_gib)
        assert found.high_gib <= hardware.memory_gib
    for item in rejected:
        if item.needs_gib is not None:
            assert item.has_gib is not None
            assert item.needs_gib >= item.has_gib
