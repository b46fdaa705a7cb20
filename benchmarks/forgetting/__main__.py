"""What each guard against forgetting saves on general text, and what it costs on the task.

    python -m benchmarks.forgetting --data TASK.jsonl --general GENERAL.jsonl [--model NAME]

The same narrow task is trained with and without each guard, over the same seeds: forgetting (nats
per token on general text that is never trained on) and the task's validation loss, in pairs.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeper.backend import Decision
from sweeper.data.load import load
from sweeper.facts.models.model import model_facts
from sweeper.features.forgetting._general_data import TEXT
from sweeper.spec import DataSpec, ModelSpec, Scalar, Spec
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import TrialBudget, TrialConfig, TrialResult

TOKENS, EVALUATED, RUNGS = 128, 8, 4
_LORA: dict[str, Scalar] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
RATES = {"lora": 1e-3, "full": 1e-4}
GUARDS: dict[str, dict[str, Scalar]] = {
    "none": {},
    "replay 20%": {"replay_share": 0.2},
    "KL 0.1": {"kl_weight": 0.1},
    "KL 1": {"kl_weight": 1.0},
    "weight decay 0.3": {"weight_decay": 0.3},
    "layer-wise 0.8": {"layerwise_lr_decay": 0.8},
    "stop at 2 points": {},
}
# A limit that is never reached has general text watched where nothing else does.
LIMITS, NO_LIMIT = {"stop at 2 points": 2.0}, math.inf


@dataclass(frozen=True)
class Pair:
    """One training: nats per token that general text lost, and the task's validation loss."""

    forgetting: float
    task_loss: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.forgetting")
    parser.add_argument("--data", required=True, help="rows of a narrow task")
    parser.add_argument("--general", help="general text; the base's own samples if not given")
    parser.add_argument("--task", default="instruction", choices=("instruction", "domain", "code"))
    parser.add_argument("--model", default="packaged:smollm2", help="a model with weights here")
    parser.add_argument("--strategy", default="lora", choices=sorted(RATES))
    parser.add_argument("--rate", type=float, help="learning rate; a high one shows more")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rows", type=int, default=120, help="in all splits together")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--guards", nargs="*", default=list(GUARDS), help="of: " + ", ".join(GUARDS)
    )
    chosen = parser.parse_args()
    plain = _trainings(chosen, "none")
    _show("none", plain, plain)
    for guard in chosen.guards:
        if guard != "none":
            _show(guard, _trainings(chosen, guard), plain)


def _shared(chosen: argparse.Namespace, limit: float) -> SharedModel:
    named = ModelSpec(id=chosen.model)
    facts = model_facts(named)
    data = DataSpec(path=chosen.data, max_rows=chosen.rows)
    features = {"forgetting": {"general": chosen.general, "max_points": limit}}
    spec = Spec.model_validate(
        {"task": chosen.task, "models": (named,), "data": data, "features": features}
    )
    context = ModelContext(
        named,
        facts,
        weights_folder(named, facts),
        load(data, spec.task),
        spec,
        TOKENS,
        EVALUATED,
        torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    return SharedModel(context)


def _trainings(chosen: argparse.Namespace, guard: str) -> list[Pair]:
    shared = _shared(chosen, LIMITS.get(guard, NO_LIMIT))
    return [_training(shared, chosen, GUARDS[guard], seed) for seed in range(chosen.seeds)]


def _training(
    shared: SharedModel, chosen: argparse.Namespace, guard: dict[str, Scalar], seed: int
) -> Pair:
    own = _LORA if chosen.strategy == "lora" else {}
    rate = chosen.rate or RATES[chosen.strategy]
    parameters = {"learning_rate": rate, **own, **guard}
    rows = len(shared.context.dataset.splits["train"])
    config = TrialConfig(
        number=0,
        seed=seed,
        origin="user",
        task=chosen.task,
        strategy=chosen.strategy,
        model=chosen.model,
        parameters=parameters,
        budget=TrialBudget(
            epochs=chosen.epochs, full_tokens=rows * TOKENS, rungs=RUNGS, rung_items=EVALUATED
        ),
        micro_batch=chosen.batch,
        gradient_accumulation_steps=1,
        evaluation_batch=EVALUATED,
        precision="bf16-mixed",
        sequence_length=TOKENS,
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        job = TrialJob(shared, config, Path(folder), lambda _: Decision.CONTINUE)
        result = train_trial(job)
    return _pair(result, time.perf_counter() - start)


def _pair(result: TrialResult, seconds: float) -> Pair:
    lost, loss = result.measures.get(TEXT), result.validation_loss
    if lost is None or loss is None:
        raise SystemExit(f"a training did not end well: {result.failure}")
    pair = Pair(lost.change, loss, seconds)
    print(f"  {pair.forgetting:+.4f}  {pair.task_loss:.4f}  in {seconds:.0f} s", flush=True)
    return pair


def _show(name: str, found: list[Pair], plain: list[Pair]) -> None:
    saved = [b.forgetting - a.forgetting for a, b in zip(found, plain, strict=True)]
    cost = [a.task_loss - b.task_loss for a, b in zip(found, plain, strict=True)]
    pairs = "  ".join(f"({p.forgetting:+.4f}, {p.task_loss:.4f})" for p in found)
    print(
        f"{name:<18} (forgetting, task loss) {pairs}\n"
        f"{'':<18} saves {statistics.mean(saved):+.4f}  costs {statistics.mean(cost):+.4f}  "
        f"in {sum(p.seconds for p in found):.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
