"""Writes run folders as a sweep would leave them: a small honest model of trials, not mocks.

Losses follow a parabola in the logarithm of the learning rate, curves fall towards them, single
items share their difficulty between trials (so that pairing matters), and what is written are the
real artifacts. Everything is drawn from one seed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from make_plan import PARAMETERS, STRATEGIES, Shape, make_plan

from sweeper.artifact import Artifact
from sweeper.facts.record import TrainingSetup
from sweeper.plans import Plan, TrialBudget
from sweeper.runfolder import RunFolder
from sweeper.trials import (
    BaselineResult,
    EncodingNote,
    Failure,
    GeneratedAnswers,
    ItemText,
    RungReport,
    TestScore,
    TestSeal,
    TrialConfig,
    TrialResult,
)


def make_run(root: Path, shape: Shape | None = None, **changes: object) -> RunFolder:
    """Write one run folder below ``root``."""
    shape = replace(shape or Shape(), **changes)
    run = RunFolder(root / shape.name)
    plan = make_plan(shape)
    _put(plan, run.plan)
    run.spec.write_text(
        f"name: {shape.name}\ntask: {shape.task}\nmodel: {shape.model}\ndata: rows.jsonl\n"
        f"search:\n  trials: {shape.trials or 20}\n"
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
    for number in order if shape.weights else ():
        weights = run.trial(number) / "weights"
        weights.mkdir(exist_ok=True)
        (weights / "sweeper.json").write_text("{}")
    if shape.seeds > 1:
        for number in order:
            for seed in range(1, shape.seeds):
                _seed(run, shape, number, seed, rng, difficulty, finals[number])
    if shape.seal and order:
        _seal(run, shape, plan, order, finals, rng)
    if shape.parts is not None and order:
        seal = TestSeal.read_or_none(run.test_seal)
        winner = seal.recommended if seal and seal.recommended is not None else order[0]
        best = TrialConfig.read(run.trial(winner) / "config.json").strategy
        default = next(i for i, c in enumerate(plan.candidates) if c.strategy == best)
        for number in dict.fromkeys([winner, default] if default in finals else [winner]):
            _parts(run, shape, number, rng, difficulty, finals[number])
    if shape.held:
        # As a command does until its process ends.
        fcntl.flock(os.open(run.path / ".lock", os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
    if shape.phase is not None:
        ends = Counter(TrialResult.read(path).state for path in run.trials.glob("*/result.json"))
        run.status.write_text(
            json.dumps(
                {
                    "schema_version": 1,
                    "phase": shape.phase,
                    "trials": shape.asked or shape.trials,
                    "complete": ends["COMPLETE"],
                    "pruned": ends["PRUNED"],
                    "failed": ends["FAIL"],
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
        setup=TrainingSetup(
            micro_batch=16, evaluation_batch=32, precision="fp32", sequence_length=128
        ),
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
                json.dumps(
                    {
                        "keys": keys,
                        "losses": losses.tolist(),
                        "scores": scores.tolist(),
                        "weights": [1.0] * len(keys),
                    }
                )
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
        weights_bytes=2_400_000 if done else None,
        base_bytes=90_900_000 if done else None,
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
        notes=(EncodingNote(split="train", kind="cut", count=3, of=560, tokens=128),),
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


def _parts(
    run: RunFolder,
    shape: Shape,
    number: int,
    rng: np.random.Generator,
    difficulty: np.ndarray,
    final: float,
) -> None:
    """Trainings on an eighth, a quarter and half of the rows, with three seeds each."""
    config = TrialConfig.read(run.trial(number) / "config.json")
    for share in (8, 4, 2):
        for seed in range(3):
            folder = run.trial(number) / "rows" / str(560 // share) / str(seed)
            point = config.model_copy(update={"seed": seed, "train_rows": 560 // share})
            _put(point, folder / "config.json")
            loss = final * share**shape.parts * (1 + float(rng.normal(0, shape.noise)))
            _result(run, shape, folder, point, "COMPLETE", loss, 8, difficulty, rng, seed)


def _baselines(shape: Shape) -> tuple[BaselineResult, ...]:
    mark = shape.hostile
    if shape.task != "classification":
        return (
            BaselineResult(
                name="zero_shot",
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


def _confusion(right: np.ndarray, classes: int) -> tuple[tuple[int, int, int], ...]:
    """Each wrong item is taken for the next class."""
    found: dict[tuple[int, int], int] = {}
    for item, correct in enumerate(right):
        true = item % classes
        said = true if correct else (true + 1) % classes
        found[true, said] = found.get((true, said), 0) + 1
    return tuple((true, said, count) for (true, said), count in sorted(found.items()))


def _predicted(right: np.ndarray, classes: int) -> tuple[int, ...]:
    return tuple((i + (not correct)) % classes for i, correct in enumerate(right))


def _texts(shape: Shape, plan: Plan, losses: np.ndarray) -> dict[int, ItemText]:
    """The first items and the hardest ones, as training keeps them."""
    labels = sorted(label.label for label in plan.facts.data.labels)
    chosen = {*range(min(12, losses.size)), *np.argsort(-losses)[:20].tolist()}
    return {
        item: ItemText(
            line=item + 1,
            asked=f"question {item}{shape.hostile}",
            reference=labels[item % len(labels)] if labels else f"answer {item}{shape.hostile}",
        )
        for item in sorted(chosen)
    }


def _answers(shape: Shape, name: str, loss: float) -> GeneratedAnswers:
    """Figures that get better as the loss gets lower."""
    metrics = {"bleu": 40 - 10 * loss, "chrf": 60 - 10 * loss, "rougeL": 0.5 - 0.1 * loss}
    return GeneratedAnswers(
        items=32,
        metrics=metrics | {"exact_match": 0.25},
        max_tokens=96,
        seconds=12.0,
        greedy_seconds=8.0,
        shown_texts={item: f"{name} says {item}{shape.hostile}" for item in range(12)},
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
                test_loss=float(losses.mean()),
                metrics=metrics,
                item_scores=tuple(items.tolist()),
                item_losses=tuple(losses.tolist()),
                items_sha256=hashlib.sha256(difficulty.tobytes()).hexdigest(),
                confusion=() if text else _confusion(right, len(plan.facts.data.labels)),
                predicted=() if text else _predicted(right, len(plan.facts.data.labels)),
                confidence=() if text else tuple(np.exp(-losses).clip(0.5, 0.99).tolist()),
                texts=_texts(shape, plan, losses),
                generated=_answers(shape, name, float(losses.mean()))
                if text and seed in (None, 0)
                else None,
                seconds=None if trial is None else 1.2 + 0.3 * (seed or 0),
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
