"""A training backend without torch: losses follow curves computed from the parameters.

The module also makes the plan that goes with it, and a small command that runs a sweep, so that
tests kill real processes. Faults are asked for by environment variables.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faults

from sweeper.backend import Decision, Interrupted
from sweeper.facts.record import (
    DataFacts,
    Facts,
    HardwareFacts,
    ModelFacts,
    SplitFacts,
    TrainingSetup,
)
from sweeper.plans import (
    Budget,
    Candidate,
    Condition,
    Duration,
    Identity,
    MemoryEstimate,
    Parameter,
    Plan,
)
from sweeper.runfolder import RunFolder
from sweeper.spec import AimSpec, ModelSpec, SearchSpec, Spec
from sweeper.trials import (
    BaselineResult,
    Failure,
    RungReport,
    TestScore,
    TrialConfig,
    TrialResult,
)

ITEMS = 40
STEPS_PER_RUNG = 5
STEP_SECONDS = float(os.environ.get("CURVE_STEP_SECONDS", "0"))
# "trial:rung:attempts,...": the process kills itself there in the first so many attempts.
CRASH = os.environ.get("CURVE_CRASH", "")
BROKEN = os.environ.get("CURVE_BROKEN", "")
# A file that says where each trial trained, from when to when.
PLACES = os.environ.get("CURVE_PLACES", "")
NOISE = float(os.environ.get("CURVE_NOISE", "0.004"))
# Points that are forgotten at a learning rate of 1e-3; they grow with the rate.
FORGETS = float(os.environ.get("CURVE_FORGETS", "0"))


def seconds() -> Duration:
    return Duration(seconds=1.0, low=0.5, high=2.0)


def learning_rate(low: float, high: float, allowed_low: float, allowed_high: float) -> Parameter:
    return Parameter(
        kind="float",
        low=low,
        high=high,
        log=True,
        allowed_low=allowed_low,
        allowed_high=allowed_high,
        default=math.sqrt(low * high),
        source="test",
    )


def head_init() -> Parameter:
    return Parameter(
        kind="categorical", choices=("probe", "random"), default="probe", source="test"
    )


LORA = {
    "learning_rate": learning_rate(1e-4, 3e-4, 1e-5, 1e-2),
    "r": Parameter(
        kind="int", low=8, high=64, log=True, allowed_low=1, allowed_high=256, default=16,
        source="test",
    ),
    "head_init": head_init(),
    "head_learning_rate": learning_rate(1e-3, 3e-2, 1e-4, 1e-1).model_copy(
        update={"condition": Condition(parameter="head_init", values=("random",))}
    ),
    "lora_dropout": Parameter(kind="float", default=0.05, source="test", searched=False),
}  # fmt: skip
FULL = {
    "learning_rate": learning_rate(1e-5, 5e-5, 1e-6, 1e-3),
    "per_device_train_batch_size": Parameter(
        kind="categorical", choices=(8, 16, 32), default=16, source="test"
    ),
    "head_init": head_init(),
}
HEAD = {
    "regularisation": Parameter(kind="float", default=1.0, source="test", searched=False),
}


def candidate(strategy: str, parameters: dict[str, Parameter]) -> Candidate:
    return Candidate(
        strategy=strategy,
        model="tiny",
        reasons=(),
        memory=MemoryEstimate(peak_gib=1, low_gib=0.5, high_gib=2, limit_gib=8, parts={}),
        duration=seconds(),
        setup=TrainingSetup(
            micro_batch=8,
            gradient_accumulation_steps=2,
            evaluation_batch=32,
            gradient_checkpointing=False,
            precision="fp32",
            sequence_length=64,
        ),
        one_trial=strategy == "head",
        trainable_parameters=1000,
        parameters=parameters,
    )


def make_plan(trials: int = 20, *, seed: int = 0, strategies: str = "lora,full,head") -> Plan:
    quick = bool(os.environ.get("CURVE_QUICK"))  # one finalist and no confirmation
    known = {"lora": LORA, "full": FULL, "head": HEAD}
    identity = Identity(
        model="m", data="d", task="t", split="s", space=strategies, objective="o", rungs="8",
        seed=str(seed),
    )  # fmt: skip
    return Plan(
        facts=facts(),
        recommended="lora",
        candidates=tuple(candidate(name, known[name]) for name in strategies.split(",")),
        rejected=(),
        budget=Budget(
            trials=trials,
            rungs=8,
            first_rung=2,
            epochs=2.0,
            full_tokens=10_000,
            phases={name: seconds() for name in ("search", "confirmation", "test")},
            sweep=seconds(),
            finalists=1 if quick else 3,
            confirmation_seeds=1 if quick else 3,
        ),
        seed=seed,
        identity=identity,
    )


def on_gpus(count: int, per_trial: int, weights: float = 1.5) -> Plan:
    """A plan for GPUs of 8 GiB, with trials that may need 2."""
    plan = make_plan()
    hardware = plan.facts.hardware.model_copy(
        update={"device": "cuda", "gpus": count, "cpu_cores": 16}
    )
    candidates = [
        each.model_copy(
            update={
                "setup": each.setup.model_copy(update={"gpus": per_trial}),
                "memory": each.memory.model_copy(update={"parts": {"weights": weights}}),
            }
        )
        for each in plan.candidates
    ]
    facts = plan.facts.model_copy(update={"hardware": hardware})
    return plan.model_copy(update={"facts": facts, "candidates": tuple(candidates)})


def facts() -> Facts:
    splits = (("train", 200), ("validation", ITEMS), ("test", ITEMS))
    model = ModelFacts(
        id="tiny", source="local", model_type="bert", kind="encoder", parameters=1000,
        parameters_exact=True, layers=1, hidden_size=8, attention_heads=1, key_value_heads=1,
        head_dim=8, intermediate_size=16, vocabulary_size=100, context_length=64,
        tied_embeddings=True, gated_mlp=False,
    )  # fmt: skip
    return Facts(
        task="classification",
        models=(model,),
        data=DataFacts(
            rows=280,
            train_rows=200,
            splits=tuple(
                SplitFacts.model_validate(
                    {"name": name, "rows": rows, "origin": "hash", "sha256": name}
                )
                for name, rows in splits
            ),
        ),
        hardware=HardwareFacts(device="cpu", name="test", detected=True, gpus=0, memory_gib=8,
                               bf16=False),
        aim=AimSpec(),
    )  # fmt: skip


def make_spec(
    trials: int = 20, workers: int = 1, features: dict[str, Any] | None = None, **search: object
) -> Spec:
    fields = {"trials": trials, "workers": workers, **search}
    return Spec(
        task="classification",
        models=(ModelSpec(id="tiny"),),
        search=SearchSpec.model_validate(fields),
        features=features or {},
    )


def noise(*parts: object) -> float:
    """A number in [-1, 1) that depends on the parts alone."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8]) / 2**63 - 1


OPTIMA = {"lora": -3.0, "full": -4.2, "head": 0.0}
FLOORS = {"lora": 0.30, "full": 0.34, "head": 0.45}


def final_loss(config: TrialConfig) -> float:
    """What training to the end comes to, without noise."""
    floor = FLOORS.get(config.strategy, 0.4)
    if "learning_rate" not in config.parameters:
        return floor
    rate = math.log10(float(config.parameters["learning_rate"]))
    distance = rate - OPTIMA.get(config.strategy, -3.5)
    return floor + 0.25 * distance**2


def loss_at(config: TrialConfig, rung: int) -> float:
    final = final_loss(config)
    start = 1.2 if config.parameters.get("head_init") == "probe" else 2.3
    final += 4.0 / (config.train_rows or 200)  # fewer rows, a higher loss
    decayed = final + (start - final) * math.exp(-rung)
    return decayed + NOISE * noise(config.seed, config.parameters, rung)


class CurveBackend:
    """Computes instead of training."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def baselines(self) -> Iterator[BaselineResult]:
        for name, loss in (("majority", 1.9), ("tfidf", 0.8)):
            time.sleep(STEP_SECONDS)
            yield BaselineResult(
                name=name, title=name.title(), validation_loss=loss, metrics={"accuracy": 0.5}
            )

    def train(
        self,
        config: TrialConfig,
        folder: Path,
        report: Callable[[RungReport], Decision],
        should_stop: Callable[[], bool],
        checkpoint: Path | None = None,
    ) -> TrialResult:
        with (self._run.path / "trained.log").open("a") as file:
            file.write(f"{config.number} {config.attempt} {config.seed}\n")
        with _noted(config):
            return self._train(config, folder, report, should_stop)

    def _train(
        self,
        config: TrialConfig,
        folder: Path,
        report: Callable[[RungReport], Decision],
        should_stop: Callable[[], bool],
    ) -> TrialResult:
        config = faults.memory(config)
        best = math.inf
        for rung in range(1, config.budget.rungs + 1):
            for _ in range(STEPS_PER_RUNG):
                time.sleep(STEP_SECONDS)
                faults.moment(self._run, "train")
                if should_stop():
                    raise Interrupted
            _perhaps_crash(config, rung)
            faults.at_rung(config, rung)
            faults.wait(config, rung, should_stop)
            loss = math.nan if faults.diverges(config, rung) else loss_at(config, rung)
            if not math.isfinite(loss):
                return self._failed(config)
            best = min(best, loss)
            decision = report(self._rung(config, rung, loss))
            if decision is Decision.STOP:
                raise Interrupted
            if decision is Decision.PRUNE:
                return self._result(config, "PRUNED", rung, None)
        self._write_files(config, folder, best)
        return self._result(config, "COMPLETE", config.budget.rungs, best)

    def _rung(self, config: TrialConfig, rung: int, loss: float) -> RungReport:
        return RungReport(
            number=config.number, attempt=config.attempt, rung=rung, validation_loss=loss,
            items=ITEMS, optimizer_steps=rung * STEPS_PER_RUNG, epochs=rung / 4, tokens=rung * 1250,
            training_seconds=rung * 0.1, evaluation_seconds=rung * 0.01,
        )  # fmt: skip

    def _failed(self, config: TrialConfig) -> TrialResult:
        return TrialResult(
            number=config.number, attempt=config.attempt, seed=config.seed, state="FAIL",
            failure=Failure(kind="diverged", detail="loss is not finite"),
        )  # fmt: skip

    def _result(
        self, config: TrialConfig, state: str, rung: int, loss: float | None
    ) -> TrialResult:
        complete = state == "COMPLETE"
        fields = {
            "number": config.number, "attempt": config.attempt, "seed": config.seed,
            "state": state, "validation_loss": loss, "best_rung": rung if complete else None,
            "pruned_at_rung": None if complete else rung,
            "item_losses": "item_losses.json" if complete else None,
            "weights": "weights" if complete else None, "training_seconds": rung * 0.1,
            "evaluation_seconds": rung * 0.01, "tokens": rung * 1250,
            "optimizer_steps": rung * STEPS_PER_RUNG, "peak_memory_gib": 1.0,
            "micro_batch": config.setup.micro_batch,
            "evaluation_batch": config.setup.evaluation_batch,
        }  # fmt: skip
        if complete and FORGETS:
            lost = FORGETS / 100 * float(config.parameters.get("learning_rate", 0)) / 1e-3
            figure = {"title": "lost", "unit": "nats/token", "value": 2.0 + lost, "base": 2.0}
            fields["measures"] = {"general.text": figure}
        return TrialResult.model_validate(fields)

    def _write_files(self, config: TrialConfig, folder: Path, loss: float) -> None:
        losses = [loss + 0.05 * noise(item) for item in range(ITEMS)]
        keys = [str(item) for item in range(ITEMS)]
        text = json.dumps(
            {"keys": keys, "losses": losses, "scores": [1.0] * ITEMS, "weights": [1.0] * ITEMS}
        )
        (folder / "item_losses.json").write_text(text)
        (folder / "weights").mkdir()
        faults.disk(self._run, config)
        (folder / "weights" / "adapter.bin").write_text(f"{config.number} {config.seed}")

    def score_test(self, name: str, config: TrialConfig | None, folder: Path | None) -> TestScore:
        with (self._run.path / "tested.log").open("a") as file:
            file.write(f"{name}\n")
        if folder is not None:
            assert (folder / "weights" / "adapter.bin").exists()
        loss = 1.0 if config is None else final_loss(config)
        scores = tuple(float(noise(name, item) < 1.2 - loss) for item in range(ITEMS))
        return TestScore(
            name=name,
            trial=None if config is None else config.number,
            seed=None if config is None else config.seed,
            test_loss=loss,
            metrics={"accuracy": sum(scores) / ITEMS},
            item_scores=scores,
            items_sha256="0" * 64,
        )

    def close(self) -> None:
        return None


@contextlib.contextmanager
def _noted(config: TrialConfig) -> Iterator[None]:
    """Leave word of the devices and threads that this process was given."""
    began = time.monotonic()
    yield
    if PLACES:
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
        place = {name: os.environ.get(name) for name in names}
        times = {"trial": config.number, "began": began, "ended": time.monotonic()}
        with Path(PLACES).open("a") as file:
            file.write(json.dumps(place | times) + "\n")


def _perhaps_crash(config: TrialConfig, rung: int) -> None:
    for fault in filter(None, CRASH.split(",")):
        number, at, attempts = map(int, fault.split(":"))
        if (config.number, rung) == (number, at) and config.attempt <= attempts:
            os.kill(os.getpid(), signal.SIGKILL)


def make(run: RunFolder, plan: Plan, spec: Spec, tell: object = None) -> CurveBackend:
    faults.install(run)
    if BROKEN:
        raise RuntimeError(BROKEN)
    return CurveBackend(run)


def main() -> int:
    """``curve_backend.py FOLDER TRIALS WORKERS [SEED]``: the command that kill tests kill."""
    from sweeper.execution.coordinator import run_sweep  # loads optuna, which workers must not
    from sweeper.execution.state.continuation import plan_to_run

    folder, trials, workers, seed = (*sys.argv[1:5], "0")[:4]
    run = RunFolder(Path(folder))
    spec = make_spec(
        int(trials),
        int(workers),
        executor=os.environ.get("CURVE_EXECUTOR", "local"),
        features=json.loads(os.environ.get("CURVE_FEATURES", "{}")),
    )
    with run.lock():
        plan = plan_to_run(run, make_plan(int(trials), seed=int(seed)))
        outcome = run_sweep(run, spec, plan, backend="curve_backend:make")
    print(outcome.kind, flush=True)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
