"""CPU seconds of training steps and of scored items on one thread, beside what a plan says.

    python -m benchmarks.forecast.steps [--fit]

CPU seconds of the process, so that other work on the machine does not count. Random weights of
the real shapes, random tokens, no Trainer around the steps. The machine's calibration is measured
first, in the same process. With ``--fit``, the constants of ``device_speed`` that fit best.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import least_squares

from sweeper.evaluation.evaluator import autocast
from sweeper.facts.machine.detect_hardware import processor
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.memory.setup import Setup
from sweeper.planning.costs.device_speed import Speed, speed_of, step_seconds
from sweeper.planning.costs.step_work import evaluation
from sweeper.plans import autocast_dtype
from sweeper.spec import ModelSpec
from sweeper.training.dryrun.models import config_of
from sweeper.training.loop.quick_steps import quick_steps
from sweeper.training.probes import calibrate, training_step
from sweeper.training.probes.training_step import random_model

MINILM, SMOLLM = "sentence-transformers/all-MiniLM-L6-v2", "HuggingFaceTB/SmolLM2-135M"
QV, QKVO = ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")
# Batch and length of a step.
SHAPES = {
    MINILM: ((8, 13), (4, 24), (16, 32), (32, 16), (16, 96)),
    SMOLLM: ((2, 48), (4, 64), (4, 160)),
}
TIMED = 3


@dataclass(frozen=True)
class Row:
    """CPU seconds of one set-up: a step, and an item scored in a batch of 32 (4 for SmolLM2)."""

    model: ModelFacts
    setup: Setup
    step: float
    item: float


def setups(model: str) -> Iterator[Setup]:
    """Full fine-tuning and LoRA of several modules, in both precisions."""
    classes, batch = (2, 32) if model == MINILM else (0, 4)
    for precision in ("fp32", "bf16-mixed"):
        for micro, length in SHAPES[model]:
            base = Setup(
                strategy="full", precision=precision, micro_batch=micro, sequence_length=length,
                evaluation_batch=batch, evaluation_length=length, classes=classes, device="cpu",
                padded=True, optimizer="adamw_torch_fused",
            )  # fmt: skip
            yield base
            for modules in (QV, QKVO)[:: 1 if model == MINILM else -1][: 2 if length < 32 else 1]:
                yield replace(
                    base, strategy="lora", r=16, target_modules=modules, lora_dropout=0.05
                )


def measured(model: ModelFacts, setup: Setup) -> Row:
    """Train a step to warm up and take the fastest of the next ones; the same for scoring."""
    config, device = config_of(model), torch.device("cpu")
    words = int(config.get_text_config().vocab_size)
    trained = random_model(config, model, setup, device)
    optimizer = training_step._optimizer(trained, setup, device)
    batch = training_step._batch(setup, setup.sequence_length, words, device)
    with quick_steps(trained):
        steps = [training_step._step(trained, optimizer, setup, batch) for _ in range(1 + TIMED)]
        scored = replace(setup, micro_batch=setup.evaluation_batch)
        batch = training_step._batch(scored, setup.sequence_length, words, device)
        items = []
        for _ in range(1 + TIMED):
            began = time.thread_time()
            with torch.no_grad(), autocast(device, autocast_dtype(setup.precision)):
                trained(**batch)
            items.append(time.thread_time() - began)
    return Row(model, setup, min(steps[1:]), min(items[1:]) / setup.evaluation_batch)


def planned(row: Row, speed: Speed) -> tuple[float, float]:
    """What the plan says of the same: a step and an item."""
    work = evaluation(row.model, row.setup, row.setup.evaluation_batch, row.setup.sequence_length)
    return step_seconds(row.model, row.setup, speed), speed.seconds(work) / (
        row.setup.evaluation_batch
    )


def fit(rows: list[Row], hardware: HardwareFacts) -> dict[str, float]:
    """Constants with the least squares of relative errors over steps and items."""
    peak = (hardware.fp32_tflops or 0.0) * 1e12
    stream = (hardware.bandwidth_gb_per_second or 0.0) * 1e9

    def speed(constants: np.ndarray, precision: str) -> Speed:
        flops, layer, adapter, gain, moved = np.exp(constants)
        known = speed_of(hardware, rows[0].setup)
        return replace(
            known,
            flops=peak * flops * (1.0 if precision == "fp32" else gain),
            stream=stream * moved,
            layer_seconds=layer,
            adapter_seconds=adapter,
            step_seconds=0.0,
        )

    def errors(constants: np.ndarray) -> list[float]:
        found = []
        for row in rows:
            step, item = planned(row, speed(constants, row.setup.precision))
            found += [math.log(step / row.step), math.log(item / row.item)]
        return found

    start = np.log([0.7, 1e-3, 3e-4, 1.5, 0.5])
    best = least_squares(errors, start, loss="soft_l1", f_scale=0.2).x
    names = ("flops", "layer", "adapter", "bf16 gain", "stream")
    return dict(zip(names, np.exp(best).tolist(), strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = calibrate.calibrate()
    hardware = HardwareFacts(
        device="cpu", name=found.processor, detected=True, gpus=0, memory_gib=16,
        bf16=processor().bf16, cpu_cores=1, fp32_tflops=found.fp32_gflops / 1000,
        bandwidth_gb_per_second=found.bandwidth_gb_per_second,
    )  # fmt: skip
    print(f"{found.processor}: {found.fp32_gflops} GFLOP/s, {found.bandwidth_gb_per_second} GB/s")
    print("model    strategy  batch x length  precision   step  planned    item ms  planned")
    rows = []
    for name in SHAPES:
        model = model_facts(ModelSpec(id=name))
        for setup in setups(name):
            row = measured(model, setup)
            rows.append(row)
            step, item = planned(row, speed_of(hardware, setup))
            targets = {QV: " qv", QKVO: " qkvo"}.get(tuple(setup.target_modules), "")
            what = setup.strategy + targets
            print(
                f"{name[-9:]:9} {what:9} {setup.micro_batch:3} x {setup.sequence_length:<4} "
                f"{setup.precision:10} {row.step:7.4f} {step / row.step:6.2f}x  "
                f"{1000 * row.item:8.3f} {item / row.item:6.2f}x",
                flush=True,
            )
    if asked.fit:
        for constant, value in fit(rows, hardware).items():
            print(f"{constant:10} {value:.4g}")


if __name__ == "__main__":
    main()
