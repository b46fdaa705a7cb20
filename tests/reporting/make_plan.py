"""The plan of a run that ``make_run`` writes: real artifacts around a few strategies."""

from __future__ import annotations

from dataclasses import dataclass, field

from sweeper.facts.record import (
    DataFacts,
    Facts,
    HardwareFacts,
    LabelCount,
    LengthFacts,
    ModelFacts,
    SplitFacts,
    TrainingSetup,
)
from sweeper.plans import (
    Answer,
    Budget,
    Candidate,
    Duration,
    MemoryEstimate,
    Parameter,
    ParameterRange,
    Plan,
    Quality,
    Reason,
    Rejected,
    Remedy,
)
from sweeper.spec import AimSpec
from sweeper.traits.traits import known_strategies

# strategy: best learning rate, floor of the loss, GiB, seconds a trial, trained parameters
STRATEGIES = dict.fromkeys(known_strategies(), (1e-3, 0.35, 0.8, 35.0, 50_000)) | {
    "head": (1e-2, 0.30, 0.4, 6.0, 2_700),
    "lora": (8e-4, 0.20, 0.9, 40.0, 300_000),
    "full": (6e-5, 0.19, 1.6, 60.0, 22_700_000),
    "qlora": (8e-4, 0.22, 0.6, 55.0, 300_000),
    "prefix": (1e-2, 0.40, 0.8, 35.0, 90_000),
    "ptuning": (1e-2, 0.42, 0.8, 35.0, 80_000),
    "adapter": (5e-4, 0.23, 1.0, 45.0, 600_000),
}
PARAMETERS = 22_713_216


@dataclass(frozen=True)
class Shape:
    """What kind of run to write.

    Args:
        ends: State by trial number, where it is not left to the pruning: COMPLETE, PRUNED, FAIL,
            RUNNING, WAITING.
        kinds: Failure kind by trial number.
        parts: How fast the loss of the best trial and its default falls with the training rows, as
            an exponent; None writes no trainings on parts of them.
        gap: Added to every fine-tuned model's distance from the probe.
    """

    name: str = "docstrings"
    task: str = "classification"
    strategies: tuple[str, ...] = ("lora", "full", "head")
    trials: int = 20
    asked: int | None = None
    rungs: int = 8
    steps_per_rung: int = 60
    validation_items: int = 120
    test_items: int = 120
    prune: bool = True
    ends: dict[int, str] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)
    finalists: int = 3
    seeds: int = 3
    seal: bool = True
    parts: float | None = None
    baselines: bool = True
    keep_items: bool = True
    weights: bool = False
    constant: bool = False
    noise: float = 0.015
    probe_loss: float = 0.30
    phase: str | None = "complete"
    held: bool = False
    device: str = "cpu"
    hostile: str = ""
    model: str = "packaged:minilm"
    detail: str = "the loss is not finite"
    seed: int = 0


def make_plan(shape: Shape) -> Plan:
    candidates = tuple(_candidate(shape, name) for name in shape.strategies)
    rows = {"train": 560, "validation": shape.validation_items, "test": shape.test_items}
    mark = shape.hostile
    return Plan(
        facts=Facts(
            task=shape.task,
            models=(
                ModelFacts(
                    id=shape.model + mark,
                    revision="0123abc",
                    source="packaged",
                    model_type="bert",
                    kind="encoder",
                    parameters=PARAMETERS,
                    parameters_exact=True,
                    layers=6,
                    hidden_size=384,
                    attention_heads=12,
                    key_value_heads=12,
                    head_dim=32,
                    intermediate_size=1536,
                    vocabulary_size=30522,
                    context_length=512,
                    tied_embeddings=True,
                    gated_mlp=False,
                ),
            ),
            data=DataFacts(
                path="docstrings.jsonl" + mark,
                format="text-label",
                rows=sum(rows.values()),
                train_rows=rows["train"],
                splits=tuple(
                    SplitFacts(name=name, rows=count, origin="hash", sha256="ab" * 32)
                    for name, count in rows.items()
                ),
                fingerprint="cd" * 32,
                lengths=LengthFacts(
                    mean=41.0, p50=30, p90=90, p99=180, longest=300, measured_with="tokenizer"
                ),
                labels=tuple(LabelCount(label=f"class {i}", rows=80) for i in range(7)),
            ),
            hardware=HardwareFacts(
                device=shape.device,
                name="a GPU" if shape.device == "cuda" else "a CPU",
                detected=True,
                gpus=1 if shape.device == "cuda" else 0,
                memory_gib=24.0 if shape.device == "cuda" else 7.7,
                bf16=False,
                cpu_cores=2,
            ),
            aim=AimSpec(),
        ),
        recommended=shape.strategies[0],
        candidates=candidates,
        rejected=(
            Rejected(
                strategy="qlora",
                model="packaged:minilm",
                reason="4-bit base weights need a GPU" + mark,
                remedies=(Remedy(kind="gpus", text="a card with 8 GiB (--gpu)"),),
            ),
        ),
        warnings=(
            Reason(rule="few-rows", title="Few rows", why="560 rows are few.", source="a paper"),
        ),
        answers=(Answer(question="Full or LoRA?", answer="LoRA first." + mark),),
        budget=Budget(
            trials=shape.trials or 20,
            rungs=shape.rungs,
            first_rung=2,
            epochs=3,
            full_tokens=70_000,
            phases={
                "search": Duration(seconds=300, low=200, high=420),
                "confirmation": Duration(seconds=120, low=80, high=160),
            },
            sweep=Duration(seconds=420, low=280, high=580),
            finalists=3,
            confirmation_seeds=3,
        ),
        seed=shape.seed,
    )


def _candidate(shape: Shape, name: str) -> Candidate:
    best, _, memory, seconds, trained = STRATEGIES[name]
    parameters = {
        "learning_rate": Parameter(
            kind="float",
            low=best / 4,
            high=best * 2,
            log=True,
            allowed_low=best / 30,
            allowed_high=best * 30,
            default=best / 3,
            source="a paper",
            why="Because.",
        ),
    }
    if name in ("lora", "qlora"):
        parameters["r"] = Parameter(
            kind="int",
            low=4,
            high=64,
            log=True,
            allowed_low=1,
            allowed_high=256,
            default=16,
            source="a paper",
        )
        parameters["target_modules"] = Parameter(
            kind="categorical",
            choices=("attention" + shape.hostile, "all-linear"),
            default="all-linear",
            source="a paper",
        )
    parameters["weight_decay"] = Parameter(
        kind="float",
        low=0.0,
        high=0.1,
        allowed_low=0.0,
        allowed_high=1.0,
        default=0.01,
        source="a paper",
        searched=False,
    )
    return Candidate(
        strategy=name,
        model=shape.model + shape.hostile,
        reasons=(
            Reason(
                rule=f"prefer-{name}",
                title=f"Prefer {name}" + shape.hostile,
                why="It is cheap.",
                source="a paper",
                gap=Quality(mean=2.0, sd=1.0),
            ),
            Reason(
                rule=f"{name}-rate",
                title="Rate of this method",
                why="Measured elsewhere.",
                source="another paper",
                changes={
                    "learning_rate": ParameterRange(low=best / 4, high=best * 2, default=best / 3)
                },
            ),
        ),
        memory=MemoryEstimate(
            peak_gib=memory * 1.1,
            low_gib=memory,
            high_gib=memory * 1.3,
            limit_gib=24.0 if shape.device == "cuda" else 7.7,
            parts={"weights": memory},
        ),
        duration=Duration(seconds=seconds * 1.2, low=seconds, high=seconds * 1.5),
        setup=TrainingSetup(
            micro_batch=16,
            gradient_accumulation_steps=1,
            evaluation_batch=32,
            gradient_checkpointing=False,
            precision="fp32",
            sequence_length=128,
        ),
        trainable_parameters=trained,
        parameters=parameters,
    )
