"""Memory and time of a configuration, and changes that make it fit or make it faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.facts.record import USUAL_OPTIMIZER, ModelFacts
from sweeper.features.review._case import Case, fix_sentence
from sweeper.features.review._reading import matches
from sweeper.features.review._record import Finding, PossibleGain
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import OPTIMIZERS, Setup
from sweeper.memory.states import knows_optimizer
from sweeper.planning.costs.step_time import possible_machines
from sweeper.planning.costs.trial_seconds import Workload, setup_times
from sweeper.plans import Duration, MemoryEstimate
from sweeper.spec import Scalar
from sweeper.units import gib

#: Share of the time that a change must save to be reported.
_MIN_SHARE_SAVED = 0.1
# New values by field of ``Training``.
_Change = dict[str, Scalar]


class ReviewedCost:
    """Memory and time of one configuration.

    Attributes:
        assumed: The assumptions of the estimate, as sentences.
        setup: The set-up for the memory formula; None if nothing can be estimated.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.assumed: list[str] = []
        self.setup: Setup | None = None
        if reason := _reason_not_estimated(case):
            self.assumed.append(f"memory and time are not estimated: {reason}")
        elif case.model is not None:
            self.setup = self._setup(case.model)

    def _setup(self, model: ModelFacts) -> Setup:
        case, training = self.case, self.case.training
        optimizer = training.optim or USUAL_OPTIMIZER
        if optimizer not in OPTIMIZERS and not knows_optimizer(optimizer):
            self.assumed.append(f"{optimizer} keeps as much as AdamW")
            optimizer = USUAL_OPTIMIZER
        if training.sequence_length is None:
            self.assumed.append(f"no sequence is longer than {case.longest:,} tokens")
        elif not case.knows_rows and not training.packing:
            self.assumed.append(f"some sequences have all {case.longest:,} tokens")
        modules = training.target_modules or ("q_proj", "v_proj")
        quantization_by_flag = (
            "nf4-dq" if training.load_in_4bit else "int8" if training.load_in_8bit else None
        )
        quantization = training.quantization or quantization_by_flag
        fields: dict[str, Any] = {
            "strategy": training.method,
            "micro_batch": case.micro_batch,
            "sequence_length": min(case.longest, model.context_length),
            "padded": not training.packing and not training.padding_free,
            "gradient_accumulation_steps": case.accumulation,
            "gradient_checkpointing": training.gradient_checkpointing,
            "precision": _precision(case),
            "quantization": quantization,
            "optimizer": optimizer,
            "attention": _attention(training.attention),
            "loss": "fused" if training.fused_loss else "full",
            "gpus": case.gpus,
            "releases_gradients": training.releases_gradients,
            "r": training.r or 8,
            "target_modules": modules[0] if len(modules) == 1 else modules,
            "use_dora": training.use_dora,
            "lora_dropout": training.lora_dropout or 0.0,
            "modules_to_save": training.modules_to_save or (),
            "evaluation_batch": (training.evaluation_batch or 0) if case.evaluates else 0,
        }
        if training.weights_dtype == "float32" and quantization is None:
            fields["base_dtype"] = "float32"
        return Setup(**(fields | dict(case.config.table.setup)))

    def memory(self, setup: Setup | None = None) -> MemoryEstimate | None:
        """The peak memory of one GPU; None if it is not estimated."""
        setup = setup or self.setup
        if setup is None or self.case.model is None or self.case.facts is None:
            return None
        limit = self.case.facts.hardware.memory_gib if self.case.on_gpu else 0.0
        return estimate(self.case.model, setup, limit)

    def seconds(self, setup: Setup | None = None) -> Duration | None:
        """The time of all steps; None if rows or speed are not known."""
        case, setup = self.case, setup or self.setup
        steps, facts = case.steps, case.facts
        if setup is None or facts is None or case.model is None or not steps or not case.on_gpu:
            return None
        tokens = float(case.longest) if case.training.packing else case.mean_tokens
        timed_setup = setup.replace(sequence_length=max(round(tokens), 1), evaluation_batch=0)
        batch = timed_setup.micro_batch * timed_setup.gradient_accumulation_steps * timed_setup.gpus
        workload = Workload(
            train_rows=steps * batch, epochs=1.0, rungs=1, rung_items=0, validation_rows=0,
            test_rows=0, item_tokens=max(round(tokens), 1), scoring_tokens=tokens, classes=0,
            longest=case.longest,
        )  # fmt: skip
        all_times = [
            setup_times(case.model, timed_setup, machine)
            for machine in possible_machines(facts.hardware)
        ]
        spans = [times.speed.duration(times.training_seconds(workload)) for times in all_times]
        return Duration(
            seconds=sorted(span.seconds for span in spans)[len(spans) // 2],
            low=min(span.low for span in spans), high=max(span.high for span in spans),
        )  # fmt: skip

    def fit_findings(self) -> Iterator[Finding]:
        """A finding if the training may not fit, with changes after which it does."""
        memory = self.memory()
        if memory is None or not self.case.on_gpu or memory.high_gib <= memory.limit_gib:
            return
        change, memory_after = self._change_to_fit()
        details: dict[str, Any] = {"value": round(memory.peak_gib, 2), "high": memory.limit_gib}
        if memory_after:
            after = f"The peak is then at most {gib(memory_after.high_gib)}."
            details["fix"] = f"{fix_sentence(self.case.in_file_fields(change) or {})} {after}"
        yield self.case.finding(
            "does-not-fit" if memory.peak_gib > memory.limit_gib else "may-not-fit",
            ("micro_batch", "sequence_length"),
            change,
            ends=f"{gib(memory.low_gib)} to {gib(memory.high_gib)}",
            limit=gib(memory.limit_gib),
            **details,
        )

    def _change_to_fit(self) -> tuple[_Change, MemoryEstimate | None]:
        """The fewest changes with which the training fits, and its memory then.

        Each change is made in addition to those before it. Empty and None if all are not enough.
        """
        case, change = self.case, _Change()
        setup = self.setup
        for fields, update in self._smaller_setups():
            if setup is None or not case.in_file_fields(update):
                continue
            setup, change = setup.replace(**fields), change | update
            memory = self.memory(setup)
            if memory is not None and memory.high_gib <= memory.limit_gib:
                return change, memory
        return {}, None

    def _smaller_setups(self) -> Iterator[tuple[dict[str, Any], _Change]]:
        """Changes that save memory: of the set-up, and of ``Training``."""
        case, training = self.case, self.case.training
        if not training.gradient_checkpointing:
            yield {"gradient_checkpointing": True}, {"gradient_checkpointing": True}
        micro_batch = case.micro_batch
        while micro_batch > 1:
            micro_batch = next(
                size for size in range(micro_batch // 2, 0, -1) if case.micro_batch % size == 0
            )
            accumulation = case.accumulation * (case.micro_batch // micro_batch)
            fields = {"micro_batch": micro_batch, "gradient_accumulation_steps": accumulation}
            has_global_batch = training.global_batch is not None
            yield fields, {"micro_batch": micro_batch} if has_global_batch else dict(fields)
        if training.method == "full" and training.optim and "8bit" not in training.optim:
            yield {"optimizer": "adamw_bnb_8bit"}, {"optim": "adamw_bnb_8bit"}
        if training.method == "lora" and training.quantization is None:
            update: _Change = {"load_in_4bit": True}
            if case.config.format == "axolotl":
                update = {"method": "qlora", **update}
            yield {"strategy": "qlora", "quantization": "nf4-dq"}, update

    def gains(self) -> Iterator[PossibleGain]:
        """Changes that save at least ``_MIN_SHARE_SAVED`` of the time and fit."""
        current_duration = self.seconds()
        if self.setup is None or current_duration is None:
            return
        for reason, fields, change in self._faster_setups():
            setup = self.setup.replace(**fields)
            memory, new_duration = self.memory(setup), self.seconds(setup)
            if memory is None or new_duration is None or memory.high_gib > memory.limit_gib:
                continue
            saved = 1 - new_duration.seconds / current_duration.seconds
            if saved >= _MIN_SHARE_SAVED and (in_file := self.case.in_file_fields(change)):
                yield PossibleGain(what=reason, saved=round(saved, 3), change=in_file)

    def _faster_setups(self) -> Iterator[tuple[str, dict[str, Any], _Change]]:
        """Changes that may save time: why, of the set-up, and of ``Training``."""
        case = self.case
        if case.training.gradient_checkpointing:
            fields: dict[str, Any] = {"gradient_checkpointing": False}
            yield "no activations are recomputed, and it still fits", fields, dict(fields)
        micro_batch, accumulation = case.micro_batch, case.accumulation
        while accumulation % 2 == 0:
            micro_batch, accumulation = micro_batch * 2, accumulation // 2
            fields = {"micro_batch": micro_batch, "gradient_accumulation_steps": accumulation}
            has_global_batch = case.training.global_batch is not None
            change: _Change = {"micro_batch": micro_batch} if has_global_batch else dict(fields)
            yield "the same batch in fewer, larger passes", fields, change


def _reason_not_estimated(case: Case) -> str:
    """The reason why there is no estimate; empty if there is one."""
    training = case.training
    reasons = (
        (case.facts is None, case.unknown_model),
        (training.method == "other", "there is no formula for this way of training"),
        (training.stage == "preference", "there is no formula for preferences or rewards"),
        (bool(training.sharding), "the model is sharded over GPUs"),
        (bool(training.optimizer_variant), f"there is no formula for {training.optimizer_variant}"),
        (case.config.format == "peft", "an adapter's file has no batch and no length"),
    )
    return next((why for applies, why in reasons if applies), "")


def _precision(case: Case) -> str:
    """The precision of the training, as ``training.precision`` in sweep.yaml names it."""
    training, table = case.training, case.config.table
    weights_in_bf16 = (
        training.weights_dtype in ("bfloat16", "auto") or table.full_bf16 == "bf16-pure"
    )
    if training.pure_bf16 or (training.bf16 and training.method == "full" and weights_in_bf16):
        return training.precision or "bf16-pure"
    mixed = "fp16-mixed" if training.fp16 else "bf16-mixed" if training.bf16 else "fp32"
    return training.precision or mixed


def _attention(name: str | None) -> str:
    return "flash" if matches(name or "", "*flash*") else "eager" if name == "eager" else "sdpa"
