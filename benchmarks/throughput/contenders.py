"""The same training three ways: a sweeper trial, TRL's SFTTrainer, transformers' Trainer.

Runs in a process of its own, so that memory is that of one contender:
``python -m benchmarks.throughput.contenders NAME DATA STRATEGY MODEL [SWITCHED]`` prints one JSON
line; SWITCHED are values in JSON to use in place of those that the plan has.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks import json_lines
from sweeper.backend import Decision
from sweeper.execution.next_attempt import configure
from sweeper.facts.gather import gather
from sweeper.facts.record import TrainingSetup
from sweeper.hyperparameters import PADDING_FREE
from sweeper.planning.planner import make_plan
from sweeper.plans import Configuration, Plan
from sweeper.spec import AimSpec, DataSpec, ModelSpec, Spec, TrainingSpec
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.strategies.targets import target_modules
from sweeper.tasks.sequences import answer_logits, joined
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.loop.trainer import TrialTrainer
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial.rungs import RungWatch
from sweeper.trials import TrialConfig

_LENGTH = 512
NAMES = ("sweeper", "trl", "trainer")
SETUPS: dict[str, tuple[dict[str, Any], ...]] = {
    "trl": ({PADDING_FREE: True}, {PADDING_FREE: False}),
}
"""Set-ups of a contender, of which the fastest counts in each lap."""
COMPLETE_LOGITS = "complete_logits"
"""Switches to the loss of all logits together, which no plan asks for."""
FUSED_KERNELS = "fused_kernels"
"""Switches liger-kernel off, which plans use where it is installed."""
TEXT_BY_TEXT = "text_by_text"
"""Switches torch's kernel for joined rows off: SDPA attends to each text in turn."""


@dataclass(frozen=True)
class Lap:
    """One training: its seconds (loading apart), tokens without padding, and peak memory.

    Args:
        name: Of the contender.
        seconds: Of a clock on the wall, in training steps.
        cpu_seconds: Of the process on all its cores, in training steps.
        tokens: Without padding.
        peak_gib: Of the GPU, else of the process.
        train_loss: As the contender reports it.
        attention: Of a sweeper trial, by its name in transformers.
    """

    name: str
    seconds: float
    cpu_seconds: float
    tokens: int
    peak_gib: float
    train_loss: float
    attention: str = ""


@dataclass(frozen=True)
class Spent:
    """Seconds on the wall, and of this process on all cores."""

    wall: float
    cpu: float

    @classmethod
    def until_now(cls) -> Spent:
        """Since whenever; only differences mean something. A GPU has done its work by then."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall - other.wall, self.cpu - other.cpu)

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


class Clock(TrainerCallback):
    """What training took, from the first step's beginning to the end."""

    def __init__(self) -> None:
        self.spent = Spent(0.0, 0.0)
        self._began = Spent(0.0, 0.0)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._began = Spent.until_now()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.spent = Spent.until_now() - self._began


class Watched:
    """What all calls of one method take together."""

    def __init__(self, owner: type, method: str) -> None:
        self.spent = Spent(0.0, 0.0)
        inner = getattr(owner, method)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = Spent.until_now()
            try:
                return inner(*arguments, **options)
            finally:
                self.spent += Spent.until_now() - began

        setattr(owner, method, timed)


def planned(
    data: Path, strategy: str, model: str, switched: dict[str, Any]
) -> tuple[Spec, Plan, TrialConfig]:
    """What sweeper's plan makes of it: the default configuration of one strategy.

    Args:
        switched: Values of the configuration or of its parameters that replace planned ones.
    """
    spec = Spec(
        task="instruction",
        models=(ModelSpec(id=model),),
        data=DataSpec(path=str(data)),
        aim=AimSpec(strategies=(strategy,)),
        training=TrainingSpec(epochs=1.0, max_length=_LENGTH, gradient_checkpointing=False),
    )
    plan = make_plan(spec, gather(spec))
    candidate = plan.candidates[0]
    defaults = {name: one.default for name, one in candidate.parameters.items()}
    config = configure(
        plan,
        Configuration(
            number=0,
            strategy=candidate.strategy,
            model=candidate.model,
            parameters=defaults,
            origin="default",
        ),
        0,
    )
    if FUSED_KERNELS in switched:
        change = {FUSED_KERNELS: switched.pop(FUSED_KERNELS)}
        hardware = plan.facts.hardware.model_copy(update=change)
        facts = plan.facts.model_copy(update={"hardware": hardware})
        plan = plan.model_copy(update={"facts": facts})
    own = {name: switched.pop(name) for name in TrainingSetup.model_fields if name in switched}
    parameters = {**config.parameters, **switched}
    changes = {"keep_weights": False, "parameters": parameters}
    return spec, plan, config.with_setup(**own).model_copy(update=changes)


def by_sweeper(spec: Spec, plan: Plan, config: TrialConfig, scratch: Path) -> Lap:
    """One trial as a worker trains it, without what happens at its rungs."""
    trained, rungs = Watched(TrialTrainer, "train"), Watched(RungWatch, "on_step_end")
    losses: list[float] = []

    def report(rung: Any) -> Decision:
        losses.append(rung.train_loss or 0.0)
        return Decision.CONTINUE

    result = TorchBackend(plan, spec).train(config, scratch, report, lambda: False)
    if result.state != "COMPLETE":
        raise SystemExit(f"the trial ended as {result.state}: {result.failure}")
    lap = _lap("sweeper", trained.spent - rungs.spent, result.tokens, losses[-1])
    return replace(lap, attention=result.attention or "")


def by_trl(data: Path, spec: Spec, plan: Plan, config: TrialConfig, scratch: Path) -> Lap:
    """SFTTrainer on rows of tokens, loss on the completion only.

    Without padding if ``padding_free`` is set: with FlashAttention where it is installed, else with
    SDPA and a mask over the joined row.
    """
    from trl import SFTConfig, SFTTrainer  # only this contender needs it

    model, tokenizer = _model(spec, plan, config)
    rows = json_lines.read(data / "train.jsonl")
    joins = bool(config.parameters.get(PADDING_FREE))
    if joins and torch.cuda.is_available() and find_spec("flash_attn") is not None:
        model.set_attn_implementation("flash_attention_2")
    # TRL does not cut joined rows; these are cut.
    settings = SFTConfig(**_settings(config, scratch), max_length=None, padding_free=joins)
    clock = Clock()
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list([_encoded(tokenizer, row) for row in rows]),
        processing_class=tokenizer,
        peft_config=_lora(model, config),
        callbacks=[clock],
    )
    out = trainer.train()
    return _lap("trl", clock.spent, _tokens(tokenizer, rows), out.training_loss)


def by_trainer(data: Path, spec: Spec, plan: Plan, config: TrialConfig, scratch: Path) -> Lap:
    """Trainer with labels on the completion only, padded to the longest of a batch."""
    model, tokenizer = _model(spec, plan, config)
    lora = _lora(model, config)
    if lora is not None:
        model = get_peft_model(model, lora)
    rows = json_lines.read(data / "train.jsonl")
    clock = Clock()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**_settings(config, scratch)),
        train_dataset=[_encoded(tokenizer, row) for row in rows],
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
        callbacks=[clock],
    )
    out = trainer.train()
    return _lap("trainer", clock.spent, _tokens(tokenizer, rows), out.training_loss)


def _settings(config: TrialConfig, scratch: Path) -> dict[str, Any]:
    return {
        "output_dir": str(scratch),
        "num_train_epochs": 1,
        "per_device_train_batch_size": config.setup.micro_batch,
        "gradient_accumulation_steps": config.setup.gradient_accumulation_steps,
        "learning_rate": float(config.parameters["learning_rate"]),
        "weight_decay": float(config.parameters.get("weight_decay", 0.0)),
        "gradient_checkpointing": config.setup.gradient_checkpointing,
        "bf16": config.setup.precision == "bf16-mixed",
        "fp16": config.setup.precision == "fp16-mixed",
        "optim": config.setup.optimizer,
        "train_sampling_strategy": "group_by_length",
        "use_liger_kernel": torch.cuda.is_available() and find_spec("liger_kernel") is not None,
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": config.seed,
    }


def _model(spec: Spec, plan: Plan, config: TrialConfig) -> tuple[Any, Any]:
    folder = weights_folder(spec.models[0], plan.facts.models[0])
    strategy = strategy_named(config.strategy)
    quantized = strategy.quantization_config(config.parameters)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=strategy.base_dtype(config.setup.precision), quantization_config=quantized
    )
    if quantized is not None:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model, AutoTokenizer.from_pretrained(folder)


def _lora(model: Any, config: TrialConfig) -> LoraConfig | None:
    if config.strategy == "full":
        return None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=int(config.parameters["r"]),
        lora_alpha=int(config.parameters["lora_alpha"]),
        lora_dropout=float(config.parameters.get("lora_dropout", 0.0)),
        target_modules=target_modules(model, str(config.parameters["target_modules"])),
    )


def _encoded(tokenizer: Any, row: dict[str, str]) -> dict[str, list[int]]:
    prompt = [{"role": "user", "content": row["instruction"]}]
    answer = [{"role": "assistant", "content": row["output"]}]
    template = tokenizer.apply_chat_template
    before = template(prompt, add_generation_prompt=True, return_dict=False)
    whole = template(prompt + answer, return_dict=False)[:_LENGTH]
    labels = [-100] * len(before) + whole[len(before) :]
    return {"input_ids": whole, "labels": labels[: len(whole)]}


def _tokens(tokenizer: Any, rows: list[dict[str, str]]) -> int:
    return sum(len(_encoded(tokenizer, row)["input_ids"]) for row in rows)


def _lap(name: str, spent: Spent, tokens: int, loss: float) -> Lap:
    cuda = torch.cuda.is_available()
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return Lap(name, spent.wall, spent.cpu, tokens, peak / 2**30, loss)


def main() -> None:
    """Run one contender and print its lap."""
    name, data, strategy, model = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    switched = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    if switched.pop(COMPLETE_LOGITS, False):
        answer_logits._can_split_losses = lambda layer: False
    if switched.pop(TEXT_BY_TEXT, False):
        joined._KERNEL = None
    spec, plan, config = planned(data, strategy, model, switched)
    with tempfile.TemporaryDirectory() as scratch:
        if name == "sweeper":
            lap = by_sweeper(spec, plan, config, Path(scratch))
        else:
            contender = {"trl": by_trl, "trainer": by_trainer}[name]
            lap = contender(data, spec, plan, config, Path(scratch))
    print(json.dumps(asdict(lap)))


if __name__ == "__main__":
    main()
