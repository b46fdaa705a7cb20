"""Writes run folders as a sweep would leave them: a small honest model of trials, not mocks.

Losses follow a parabola in the logarithm of the learning rate, curves fall towards them, single
items share their difficulty between trials (so that pairing matters), and what is written are the
real artifacts. Everything is drawn from one seed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sweeper.artifact import Artifact
from sweeper.facts.record import (
    DataFacts,
    Facts,
    HardwareFacts,
    LabelCount,
    LengthFacts,
    ModelFacts,
    SplitFacts,
)
from sweeper.planning.plan import (
    Answer,
    Budget,
    Candidate,
    Duration,
    MemoryEstimate,
    Parameter,
    Plan,
    Reason,
    Rejected,
)
from sweeper.runfolder import RunFolder
from sweeper.spec import AimSpec
from sweeper.trials import (
    BaselineResult,
    Failure,
    RungReport,
    TestScore,
    TestSeal,
    TrialBudget,
    TrialConfig,
    TrialResult,
)

# strategy: best learning rate, floor of the loss, GiB, seconds a trial, trained parameters
STRATEGIES = {
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
    baselines: bool = True
    keep_items: bool = True
    constant: bool = False
    noise: float = 0.015
    probe_loss: float = 0.30
    phase: str | None = "complete"
    device: str = "cpu"
    hostile: str = ""
    detail: str = "the loss is not finite"
    seed: int = 0


def make_run(root: Path, shape: Shape = Shape(), **changes: object) -> RunFolder:
    """Write one run folder below ``root``."""
    shape = replace(shape, **changes) if changes else shape
    run = RunFolder(root / shape.name)
    plan = make_plan(shape)
    _put(plan, run.plan)
    run.spec.write_text(
        f"name: {shape.name}\ntask: {shape.task}\nsearch:\n  trials: {shape.trials}\n"
    )
    if shape.baselines:
        for baseline in _baselines(shape):
            _put(baseline, run.baselines / f"{baseline.name}.json")
    rng = np.random.default_rng(shape.seed)
    difficulty = rng.normal(-1.5, 1.1, shape.validation_items)
    finals: dict[int, float] = {}
    curves: dict[int, list[float]] = {}
    for number in range(shape.trials):
        _trial(run, shape, plan, number, rng, difficulty, finals, curves)
    order = sorted(finals, key=lambda n: finals[n])[: shape.finalists]
    if shape.seeds > 1:
        for number in order:
            for seed in range(1, shape.seeds):
                _seed(run, shape, number, seed, rng, difficulty, finals[number])
    if shape.seal and order:
        _seal(run, shape, plan, order, finals, rng)
    if shape.phase is not None:
        run.status.write_text(
            json.dumps(
                {
                    "schema_version": 1,
                    "phase": shape.phase,
                    "trials": shape.asked or shape.trials,
                    "started_at": "2026-01-05T10:00:00Z",
                    "updated_at": "2026-01-05T10:40:00Z",
                }
            )
        )
    return run


def _put(artifact: Artifact, path: Path) -> None:
    """As ``Artifact.write`` does, without waiting for the disk: tests write thousands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(artifact.to_json())


def make_plan(shape: Shape) -> Plan:
    candidates = tuple(_candidate(shape, name) for name in shape.strategies)
    rows = {"train": 560, "validation": shape.validation_items, "test": shape.test_items}
    mark = shape.hostile
    return Plan(
        facts=Facts(
            task=shape.task,
            models=(
                ModelFacts(
                    id="packaged:minilm" + mark,
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
                remedy="Give a GPU with --gpu.",
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
            search=Duration(seconds=300, low=200, high=420),
            confirmation=Duration(seconds=120, low=80, high=160),
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
        model="packaged:minilm" + shape.hostile,
        score=2.0,
        reasons=(
            Reason(
                rule=f"prefer-{name}",
                title=f"Prefer {name}" + shape.hostile,
                why="It is cheap.",
                source="a paper",
                effect="+2",
                weight=2.0,
            ),
            Reason(
                rule=f"{name}-rate",
                title="Rate of this method",
                why="Measured elsewhere.",
                source="another paper",
                effect=f"learning_rate {best / 4:g} to {best * 2:g} ({best / 3:g})",
            ),
        ),
        memory=MemoryEstimate(
            peak_gib=memory * 1.1,
            low_gib=memory,
            high_gib=memory * 1.3,
            limit_gib=24.0 if shape.device == "cuda" else 7.7,
            parts={"weights": memory},
        ),
        seconds_per_trial=seconds * 1.2,
        duration=Duration(seconds=seconds * 1.2, low=seconds, high=seconds * 1.5),
        micro_batch=16,
        gradient_accumulation_steps=1,
        evaluation_batch=32,
        gradient_checkpointing=False,
        precision="fp32",
        sequence_length=128,
        trainable_parameters=trained,
        parameters=parameters,
    )


def _trial(
    run: RunFolder,
    shape: Shape,
    plan: Plan,
    number: int,
    rng: np.random.Generator,
    difficulty: np.ndarray,
    finals: dict[int, float],
    curves: dict[int, list[float]],
) -> None:
    candidate = plan.candidates[number % len(plan.candidates)]
    name = candidate.strategy
    best, floor, _, seconds, _ = STRATEGIES[name]
    is_default = number < len(plan.candidates)
    parameters = candidate.defaults()
    if not is_default and not shape.constant:
        parameters["learning_rate"] = float(best * 10 ** rng.uniform(-1.2, 1.2))
        if "r" in parameters:
            parameters["r"] = int(2 ** rng.integers(2, 7))
            parameters["target_modules"] = ("attention" + shape.hostile, "all-linear")[
                int(rng.integers(2))
            ]
    distance = math.log10(float(parameters["learning_rate"]) / best)
    final = floor + 0.12 * distance**2 + float(rng.normal(0, shape.noise))
    final = shape.losses.get(number, final)
    start = 1.9 if name != "head" else 0.5
    curve = [
        final + (start - final) * math.exp(-5.0 * rung / shape.rungs)
        for rung in range(1, shape.rungs + 1)
    ]
    end = shape.ends.get(number)
    pruned_at = _pruned_at(shape, name, curve, curves) if end is None else None
    if end == "PRUNED":
        pruned_at = 2
    if end is None:
        end = "PRUNED" if pruned_at else "COMPLETE"
    last = pruned_at or shape.rungs
    if end in ("FAIL", "RUNNING", "WAITING"):
        last = min(3, shape.rungs)
    curves.setdefault(number, curve[:last])
    config = TrialConfig(
        number=number,
        seed=0,
        origin="default" if is_default else "search",
        task=shape.task,
        strategy=name,
        model=candidate.model,
        parameters=parameters,
        budget=TrialBudget(epochs=3, full_tokens=70_000, rungs=shape.rungs, rung_items=60),
        micro_batch=16,
        gradient_accumulation_steps=1,
        evaluation_batch=32,
        precision="fp32",
        sequence_length=128,
    )
    folder = run.trial(number)
    _put(config, folder / "config.json")
    reports = [
        _report(shape, number, rung, curve[rung - 1], seconds, end == "FAIL" and rung == last)
        for rung in range(1, last + 1)
    ]
    (folder / "rungs.jsonl").write_text(
        "".join(report.model_dump_json() + "\n" for report in reports)
    )
    if end in ("RUNNING", "WAITING"):
        return
    if end == "COMPLETE":
        finals[number] = final
    _result(run, shape, folder, config, end, final, last, difficulty, rng, 0)


def _pruned_at(
    shape: Shape, name: str, curve: list[float], curves: dict[int, list[float]]
) -> int | None:
    """Worse than the median of the earlier curves at a rung from the second on."""
    if not shape.prune or name == "head":
        return None
    for rung in range(2, shape.rungs):
        others = [c[rung - 1] for c in curves.values() if len(c) >= rung]
        if len(others) >= 4 and curve[rung - 1] > float(np.median(others)) * 1.02:
            return rung
    return None


def _report(
    shape: Shape, number: int, rung: int, loss: float, seconds: float, diverged: bool
) -> RungReport:
    share = rung / shape.rungs
    return RungReport(
        number=number,
        attempt=1,
        rung=rung,
        validation_loss=float("nan") if diverged else loss,
        items=60,
        train_loss=loss * (1 - 0.3 * share),
        optimizer_steps=rung * shape.steps_per_rung,
        epochs=3 * share,
        tokens=int(70_000 * share),
        training_seconds=seconds * share * 0.9,
        evaluation_seconds=seconds * share * 0.1,
    )


def _result(
    run: RunFolder,
    shape: Shape,
    folder: Path,
    config: TrialConfig,
    end: str,
    final: float,
    last: int,
    difficulty: np.ndarray,
    rng: np.random.Generator,
    seed: int,
) -> None:
    _, _, memory, seconds, trained = STRATEGIES[config.strategy]
    done = end == "COMPLETE"
    metrics: dict[str, float] = {}
    if done and math.isfinite(final):
        losses, scores = _items(shape, difficulty, final, rng)
        final = float(losses.mean())
        metrics = {"accuracy": float(scores.mean()), "macro_f1": float(scores.mean()) - 0.01}
        if shape.keep_items:
            keys = [f"item-{i}" for i in range(len(losses))]
            (folder / "item_losses.json").write_text(
                json.dumps({"keys": keys, "losses": losses.tolist(), "scores": scores.tolist()})
            )
    kind = shape.kinds.get(config.number, "diverged")
    share = last / shape.rungs
    result = TrialResult(
        number=config.number,
        attempt=1,
        seed=seed,
        state=end,
        failure=Failure(
            kind=kind,
            detail=shape.detail + shape.hostile,
            needed_gib=31.2 if kind == "out-of-memory" else None,
            had_gib=24.0 if kind == "out-of-memory" else None,
        )
        if end == "FAIL"
        else None,
        pruned_at_rung=last if end == "PRUNED" else None,
        pruned_because=f"worse than the median of its strategy at rung {last}" + shape.hostile
        if end == "PRUNED"
        else "",
        validation_loss=final if done else None,
        best_rung=last if done else None,
        metrics=metrics,
        item_losses="item_losses.json" if done and shape.keep_items and metrics else None,
        trainable_parameters=trained,
        total_parameters=PARAMETERS,
        optimizer_steps=last * shape.steps_per_rung,
        tokens=int(70_000 * share),
        training_seconds=seconds * share * 0.9,
        evaluation_seconds=seconds * share * 0.1,
        setup_seconds=0.4,
        peak_memory_gib=memory,
        micro_batch=16,
        started_at=f"2026-01-05T10:{config.number % 60:02d}:00Z",
        ended_at=f"2026-01-05T10:{config.number % 60:02d}:40Z",
        data_fingerprint="cd" * 32,
        versions={"python": "3.11", "torch": "2.13.0", "transformers": "5.24.0", "peft": "0.21.2"},
    )
    _put(result, folder / "result.json")


def _items(
    shape: Shape, difficulty: np.ndarray, final: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Item losses around a mean of about ``final``; an item is right under a loss of ln 2."""
    losses = np.exp(difficulty + rng.normal(0, 0.25, difficulty.size))
    losses *= final / losses.mean() if final > 0 else 1.0
    losses *= 1 + 0.002 * rng.normal()
    return losses, (losses < math.log(2)).astype(float)


def _seed(
    run: RunFolder,
    shape: Shape,
    number: int,
    seed: int,
    rng: np.random.Generator,
    difficulty: np.ndarray,
    final: float,
) -> None:
    folder = run.seed(number, seed)
    config = TrialConfig.read(run.trial(number) / "config.json").model_copy(update={"seed": seed})
    _put(config, folder / "config.json")
    around = final + float(rng.normal(0, shape.noise / 2))
    _result(run, shape, folder, config, "COMPLETE", around, shape.rungs, difficulty, rng, seed)


def _baselines(shape: Shape) -> tuple[BaselineResult, ...]:
    mark = shape.hostile
    if shape.task != "classification":
        return (
            BaselineResult(
                name="zero-shot",
                title="untrained model, zero-shot" + mark,
                validation_loss=1.9,
                seconds=8.0,
            ),
        )
    return (
        BaselineResult(
            name="majority",
            title="majority class" + mark,
            validation_loss=1.94,
            metrics={"accuracy": 0.16},
            seconds=0.01,
        ),
        BaselineResult(
            name="tfidf",
            title="TF-IDF with logistic regression",
            validation_loss=0.62,
            metrics={"accuracy": 0.80},
            seconds=0.9,
        ),
        BaselineResult(
            name="probe",
            title="frozen probe",
            validation_loss=shape.probe_loss,
            metrics={"accuracy": max(0.0, 1.19 - shape.probe_loss)},
            seconds=7.0,
        ),
    )


def _seal(
    run: RunFolder,
    shape: Shape,
    plan: Plan,
    order: list[int],
    finals: dict[int, float],
    rng: np.random.Generator,
) -> None:
    text = shape.task != "classification"
    difficulty = rng.normal(-1.5, 1.1, shape.test_items)
    scores: list[TestScore] = []

    def score(name: str, loss: float, trial: int | None, seed: int | None) -> None:
        losses, right = _items(shape, difficulty, loss, rng)
        items = losses if text else right
        metrics = {"loss": float(losses.mean())}
        if not text:
            metrics["accuracy"] = float(right.mean())
        scores.append(
            TestScore(
                name=name,
                trial=trial,
                seed=seed,
                loss=float(losses.mean()),
                metrics=metrics,
                item_scores=tuple(items.tolist()),
                item_losses=tuple(losses.tolist()),
            )
        )

    for number in order:
        for seed in range(shape.seeds):
            name = f"trial-{number}" if seed == 0 else f"trial-{number}-seed-{seed}"
            score(name, finals[number] + float(rng.normal(0, shape.noise / 2)), number, seed)
    for number in range(len(plan.candidates)):
        if number in finals and number not in order:
            score(f"trial-{number}", finals[number], number, 0)
    for baseline in _baselines(shape) if shape.baselines else ():
        score(baseline.name, baseline.validation_loss or 1.0, None, None)
    seal = TestSeal(
        order=tuple(order),
        recommended=min(
            order, key=lambda n: STRATEGIES[plan.candidates[n % len(plan.candidates)].strategy][2]
        ),
        opened_at="2026-01-05T10:45:00Z",
        headline_metric="loss" if text else "accuracy",
        higher_is_better=not text,
        items=shape.test_items,
        scores=tuple(scores),
        complete=True,
    )
    _put(seal, run.test_seal)
