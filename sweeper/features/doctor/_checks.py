"""Checks of training on this machine's device, each with a small model of random weights.

A check takes a ``CheckContext`` and returns its figures. It raises ``NotRun`` if this machine lacks
something, and ``Failed`` or any other exception if its docstring is not true.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sweeper.child_process import tell_event
from sweeper.evaluation.evaluator import autocast
from sweeper.execution.pools.local_pool import WORKER
from sweeper.execution.pools.placement import mismatch
from sweeper.execution.state.attempts import attempt_folder
from sweeper.facts.machine.hardware import detected_gpus, hardware_facts
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import TrainingSetup
from sweeper.features.doctor._results import BEGUN, CheckAnswer, CheckRequest, Result
from sweeper.memory.estimate import estimate, trial_gib
from sweeper.memory.setup import Setup
from sweeper.planning.costs.step_time import speed_of, step_seconds
from sweeper.plans import Plan, Precision, autocast_dtype
from sweeper.runfolder import RunFolder
from sweeper.safe_text import clean
from sweeper.spec import HardwareSpec, ModelSpec, Scalar
from sweeper.strategies.loading import quiet_library
from sweeper.strategies.strategy import Setting
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.sequences.answer_logits import answer_losses
from sweeper.tasks.sequences.joined import ATTENTION_BY_TEXT, INPUTS, pack_texts
from sweeper.training.base_model.base_lender import fuse, load_base
from sweeper.training.loop.device_memory import in_batches_that_fit
from sweeper.training.probes.device import training_device
from sweeper.training.probes.training_step import optimizer_of, probe, stay_within_memory
from sweeper.trials import TrialResult
from sweeper.units import GIB

# Parameters of all strategies in the checks; each takes its own.
PARAMETERS: dict[str, Scalar] = {
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "target_modules": "all-linear",
    "learning_rate": 1e-3,
}
# Tokens that the small model knows.
_VOCABULARY = 512
# Limits of the relative differences of loss and gradient, in float32 and in 16 bits. Differences on
# a CPU are at most a fifth of these; attention across texts changes the gradient by more than half
# (measured).
_MAX_DIFFERENCES = {"float32": (1e-4, 1e-3), "half": (0.01, 0.1)}
# Models for the check of a step's memory: the first one that fits the device is measured.
_MODELS = ("8B", "1B", "0.5B", "135M")
# Share of the free memory for which the models of that check are planned.
_SHARE_OF_FREE_MEMORY = 0.8
_MAX_SWEEP_SECONDS = 900.0


class NotRun(Exception):
    """The check needs something that this machine lacks."""


class Failed(Exception):
    """A result is wrong; ``figures`` says by how much."""

    def __init__(self, what: str, **figures: float | int | str) -> None:
        super().__init__(what)
        self.figures = figures


Figures = dict[str, float | int | str]
LossAndGradient = tuple[float, Tensor]
"""A loss and its gradient, flat, in float32 on the CPU."""


@dataclass(frozen=True)
class CheckContext:
    """The device and the folder of a check.

    Args:
        folder: Folder for files, such as the model.
    """

    device: torch.device
    folder: Path

    @property
    def model(self) -> Path:
        """The folder of a small Llama that reads bytes, with random weights."""
        folder = self.folder / "model"
        if not (folder / "config.json").exists():
            torch.manual_seed(0)
            width = 512 if self.device.type == "cuda" else 64
            shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2}
            heads = {"num_attention_heads": 4, "max_position_embeddings": 2048}
            with quiet_library():
                config = LlamaConfig(
                    vocab_size=_VOCABULARY, initializer_range=0.1, **shape, **heads
                )
                LlamaForCausalLM(config).save_pretrained(folder)
                byte_tokenizer().save_pretrained(folder)
        return folder

    def training_model(
        self, strategy: str, precision: Precision, attention: str = "sdpa"
    ) -> nn.Module:
        """The model as a trial trains it, with random weights in the adapters, too."""
        method = strategy_named(strategy)
        dtype = method.base_dtype(precision)
        quantization = method.quantization_config(PARAMETERS, dtype=dtype)
        base: Any = load_base(self.model, "CAUSAL_LM", dtype, self.device, quantization)
        base.set_attn_implementation(attention)
        torch.manual_seed(0)
        model = method.apply(base, PARAMETERS, Setting("CAUSAL_LM", precision))
        if strategy != "full":
            randomise(model)
        return model.train()

    def rows(self, count: int = 6) -> list[dict[str, Any]]:
        """Rows of unequal length; the first third of each is its prompt."""
        generator = torch.Generator().manual_seed(1)
        rows = []
        for number in range(count):
            ids = torch.randint(3, _VOCABULARY, (24 + 17 * number,), generator=generator).tolist()
            prompt = len(ids) // 3
            rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
        return rows


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def randomise(model: nn.Module) -> None:
    """Add the same noise to the trained weights in each precision, since adapters begin at zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                noise = 0.02 * torch.randn(weight.shape, generator=generator)
                weight += noise.to(weight.device, weight.dtype)


def padded(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A padded batch with a row for each text."""
    pad = nn.utils.rnn.pad_sequence
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    labels = [torch.tensor(row["labels"]) for row in rows]
    mask = pad([torch.ones_like(row) for row in ids], batch_first=True)
    return {
        "input_ids": pad(ids, batch_first=True),
        "attention_mask": mask,
        "labels": pad(labels, batch_first=True, padding_value=-100),
    }


def loss_of(model: nn.Module, batch: dict[str, Any], precision: Precision) -> Tensor:
    """The mean loss of the answer tokens, computed as a trial computes it."""
    device = next(model.parameters()).device
    batch_on_device = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    inputs = {name: batch_on_device[name] for name in INPUTS if name in batch_on_device}
    with autocast(device, autocast_dtype(precision)):
        return answer_losses(model, inputs, batch_on_device["labels"]).mean()


def loss_and_gradient(
    model: nn.Module, batch: dict[str, Any], precision: Precision
) -> LossAndGradient:
    """The loss and its gradient; in float16 the loss is scaled for the gradient."""
    scale = 1024.0 if precision == "fp16-mixed" else 1.0
    loss = loss_of(model, batch, precision)
    (loss * scale).backward()
    gradients = [w.grad.flatten().float() for w in model.parameters() if w.grad is not None]
    return float(loss), torch.cat(gradients).cpu() / scale


def differences(computed: LossAndGradient, expected: LossAndGradient, kind: str) -> Figures:
    """The relative differences of loss and gradient.

    Args:
        kind: Key of ``_MAX_DIFFERENCES``.

    Raises:
        Failed: One is too large.
    """
    norm = expected[1].norm()
    figures: Figures = {
        "loss": computed[0],
        "gradient_norm": float(computed[1].norm()),
        "loss_difference": abs(computed[0] - expected[0]) / abs(expected[0]),
        "gradient_difference": float((computed[1] - expected[1]).norm() / norm),
    }
    for name, limit in zip(
        ("loss_difference", "gradient_difference"), _MAX_DIFFERENCES[kind], strict=True
    ):
        if not float(figures[name]) <= limit:
            raise Failed(f"{name} is above {limit:g}", **figures)
    return figures


def device(context: CheckContext) -> Figures:
    """Driver, torch and plan see the same device."""
    detected, hardware = training_device(), hardware_facts(HardwareSpec())
    gpus = torch.cuda.device_count() if detected.kind == "cuda" else 0
    figures: Figures = {"name": detected.name, "gib": round(detected.total_gib, 1), "gpus": gpus}
    if gpus:
        figures["capability"] = detected.capability
    if (problem := mismatch(hardware, detected)) is not None:
        raise Failed(problem.what, **figures)
    if gpus and len(detected_gpus()) > gpus:
        raise Failed(f"the plan counts {len(detected_gpus())} GPUs", **figures)
    return figures


def precision(context: CheckContext, name: Precision) -> Figures:
    """Loss and gradient of LoRA and of full fine-tuning are near those in float32."""
    if name != "fp16-mixed" and half_precision(context.device) == "fp16-mixed":
        raise NotRun("this GPU has no bfloat16")
    figures: Figures = {}
    for strategy in ("lora", "full"):
        computed, reference = (
            loss_and_gradient(context.training_model(strategy, kind), padded(context.rows()), kind)
            for kind in (name, "fp32")
        )
        gaps = differences(computed, reference, "half")
        figures |= {f"{strategy}_{key}": value for key, value in gaps.items()}
    return figures


def joined_rows(context: CheckContext, attention: str) -> Figures:
    """Rows that are joined (packed) without padding give the same loss and gradient as padded."""
    kinds: list[Precision] = ["fp32", half_precision(context.device)]
    if attention != ATTENTION_BY_TEXT:
        package = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
        if not find_spec(package[attention]):
            raise NotRun(f"{package[attention]} is not installed")
        kinds = kinds[1:]  # its kernels take only 16 bits
    figures: Figures = {}
    for kind in kinds:
        reference = loss_and_gradient(
            context.training_model("lora", kind), padded(context.rows()), kind
        )
        batch = pack_texts(context.rows())
        computed = loss_and_gradient(context.training_model("lora", kind, attention), batch, kind)
        gaps = differences(computed, reference, "float32" if kind == "fp32" else "half")
        figures |= {f"{kind}_{key}": value for key, value in gaps.items()}
    return figures


def fused_kernels(context: CheckContext) -> Figures:
    """Fused kernels give the loss and the gradient of transformers' own operations."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # Triton on a CPU has no bfloat16
    if not find_spec("liger_kernel") or not (interpreted or context.device.type == "cuda"):
        raise NotRun("liger-kernel is not installed, or there is no GPU")
    batch, figures = padded(context.rows()), Figures()
    kinds: list[Precision] = ["fp32", *(() if interpreted else (half_precision(context.device),))]
    # Computed first, since fusing changes rotary positions for all models of the process.
    references = [
        loss_and_gradient(context.training_model("lora", kind), batch, kind) for kind in kinds
    ]
    for kind, expected in zip(kinds, references, strict=True):
        model: Any = context.training_model("lora", kind)
        fuse(model.get_base_model())
        computed = loss_and_gradient(model, batch, kind)
        gaps = differences(computed, expected, "float32" if kind == "fp32" else "half")
        figures |= {f"{kind}_{key}": value for key, value in gaps.items()}
    return figures


def half_precision(device: torch.device) -> Precision:
    """The mixed precision that this device supports."""
    is_old = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 8
    return "fp16-mixed" if is_old else "bf16-mixed"


def four_bits(context: CheckContext) -> Figures:
    """NF4 restores values approximately, and a QLoRA step has a gradient."""
    values = torch.randn(256, 256, generator=torch.Generator().manual_seed(3)).to(context.device)
    packed, state = quantize_4bit(values, quant_type="nf4", compress_statistics=True)
    error = float((dequantize_4bit(packed, state) - values).norm() / values.norm())
    kind = half_precision(context.device)
    loss, gradient = loss_and_gradient(
        context.training_model("qlora", kind), padded(context.rows()), kind
    )
    norm = float(gradient.norm())
    figures: Figures = {"relative_error": error, "loss": loss, "gradient_norm": norm}
    # Normal weights in blocks of 64 have an error of 0.09 to 0.10 (measured on a CPU).
    if not (error < 0.15 and 0 < norm < float("inf")):
        raise Failed("NF4 or its gradient is wrong", **figures)
    return figures


def merging(context: CheckContext) -> Figures:
    """A QLoRA adapter that is saved and loaded gives the same logits, and so does a merged one."""
    method, kind = strategy_named("qlora"), half_precision(context.device)
    batch = {name: part.to(context.device) for name, part in padded(context.rows()).items()}
    labels = batch.pop("labels") != -100

    def logits(model: nn.Module, precision: Precision = "fp32") -> Tensor:
        with torch.no_grad(), autocast(context.device, autocast_dtype(precision)):
            answers: Tensor = model.eval()(**batch).logits.float()[labels]
        return answers

    model = context.training_model("qlora", kind)
    adapter_logits, folder = logits(model, kind), context.folder / "adapter"
    method.save(model, folder)
    dtype = method.base_dtype(kind)
    quantization = method.quantization_config(PARAMETERS, dtype=dtype)
    load = partial(load_base, context.model, "CAUSAL_LM")
    reloaded_logits = logits(method.load(load(dtype, context.device, quantization), folder), kind)
    float32_logits = logits(method.load(load(torch.float32, context.device), folder))
    merged_logits = logits(method.merge(method.load(load(torch.float32, context.device), folder)))

    def difference(changed: Tensor, other: Tensor) -> float:
        return float((changed - other).norm() / other.norm())

    after_reload = difference(reloaded_logits, adapter_logits)
    after_merge = difference(merged_logits, float32_logits)
    figures: Figures = {
        "reloaded_difference": after_reload,
        "merged_difference": after_merge,
        "nf4_difference": difference(adapter_logits, float32_logits),
    }
    if max(after_reload, after_merge) > 1e-3:
        raise Failed("a reloaded or merged adapter gives other logits", **figures)
    return figures


def optimizer(context: CheckContext, name: str) -> Figures:
    """Three steps lower the loss, and a step after saving and loading is the same."""
    kind, batch = half_precision(context.device), padded(context.rows())
    kind = "fp32" if kind == "fp16-mixed" else kind

    def new_model() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = context.training_model("full", kind)
        setup = Setup(strategy="full", optimizer=name)
        return model, optimizer_of(model, setup, context.device)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
        loss = loss_of(model, batch, kind)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    model, optimizer = new_model()
    first_loss, _ = step(model, optimizer), step(model, optimizer)
    file = context.folder / "optimizer.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    step(model, optimizer)
    resumed_model, resumed_optimizer = new_model()
    checkpoint = torch.load(file, weights_only=True, map_location=context.device)
    resumed_model.load_state_dict(checkpoint["model"])
    resumed_optimizer.load_state_dict(checkpoint["optimizer"])
    step(resumed_model, resumed_optimizer)
    last_loss, resumed_loss = (
        float(loss_of(trained_model, batch, kind)) for trained_model in (model, resumed_model)
    )
    figures: Figures = {
        "first_loss": first_loss,
        "last_loss": last_loss,
        "resumed_loss": resumed_loss,
    }
    if (
        not last_loss < first_loss
        or abs(resumed_loss - last_loss) > 1e-3 * (first_loss - last_loss) + 1e-5
    ):
        raise Failed("the loss does not fall, or differs after a reload", **figures)
    return figures


def training_step(context: CheckContext, strategy: str) -> Figures:
    """Real steps of the largest model that fits take no more memory than planned; time is noted."""
    kind = half_precision(context.device)
    limit = _SHARE_OF_FREE_MEMORY * training_device().free_gib
    cuda = context.device.type == "cuda"
    setup = Setup(
        strategy=strategy, quantization="nf4-dq" if strategy == "qlora" else None, micro_batch=4,
        precision=kind, sequence_length=512 if cuda else 64, device="cuda" if cuda else "cpu",
    )  # fmt: skip
    for name in _MODELS if cuda else (str(context.model),):
        model = model_facts(ModelSpec(id=name))
        predicted = estimate(model, setup, limit)
        if predicted.high_gib <= limit:
            break
    else:
        raise NotRun("no model fits the free memory")
    measured = probe(model, setup, setup.sequence_length)
    if measured.peak_gib is None or measured.seconds_per_step is None:
        # The device context counts, too, when memory runs out. Below is only what a trial measures.
        raise Failed(
            "memory ran out", parameters=model.parameters, predicted_gib=predicted.peak_gib
        )
    speed = speed_of(hardware_facts(HardwareSpec()), setup)
    figures: Figures = {
        "parameters": model.parameters,
        "predicted_gib": trial_gib(predicted),
        "allocated_gib": measured.peak_gib,
        "tokens_per_second": setup.tokens / measured.seconds_per_step,
        "planned_tokens_per_second": setup.tokens / step_seconds(model, setup, speed),
    }
    if cuda:
        free, total = torch.cuda.mem_get_info()
        outside_bytes = total - free - torch.cuda.memory_reserved()
        figures |= {
            "reserved_gib": measured.reserved_gib or 0.0,
            "outside_torch_gib": outside_bytes / GIB,
        }
    if measured.peak_gib > trial_gib(predicted) * predicted.high_gib / predicted.peak_gib:
        raise Failed("more memory than predicted", **figures)
    return figures


def out_of_memory(context: CheckContext) -> Figures:
    """Running out of memory is recognised, and training continues with a smaller batch."""
    stay_within_memory()
    too_many_bytes = 2 * int(training_device().total_gib * GIB)
    micro_batches: list[int] = []

    def attempt(setup: TrainingSetup) -> float:
        micro_batches.append(setup.micro_batch)
        if setup.micro_batch > 1:
            torch.empty(
                setup.micro_batch * too_many_bytes, dtype=torch.uint8, device=context.device
            )
        kind = half_precision(context.device)
        return loss_and_gradient(
            context.training_model("lora", kind), padded(context.rows(1)), kind
        )[0]

    loss = in_batches_that_fit(TrainingSetup(micro_batch=4), attempt, evaluating=lambda: False)
    if micro_batches != [4, 2, 1]:
        raise Failed(f"micro-batches of {micro_batches} were tried")
    return {"attempts": len(micro_batches), "loss": loss}


def ranks(context: CheckContext) -> Figures:
    """Two processes add up numbers, and train by DDP as one process does."""
    if context.device.type == "cuda" and torch.cuda.device_count() < 2:
        raise NotRun("there is one GPU")
    with tempfile.TemporaryDirectory(dir=context.folder) as folder:
        context.model  # noqa: B018 - written before two processes read it
        torch.multiprocessing.spawn(_rank, (context, folder), nprocs=2)
        first = torch.load(Path(folder) / "0", weights_only=True)
    reference = loss_and_gradient(
        context.training_model("lora", "fp32"), padded(_two_rows(context)), "fp32"
    )
    figures = differences((first["loss"], first["gradient"]), reference, "float32")
    if first["sum"] != 3.0:
        raise Failed("all-reduce of 1 and 2 is wrong", sum=first["sum"], **figures)
    return figures


def _two_rows(context: CheckContext) -> list[dict[str, Any]]:
    """Two rows of equal length: the mean of their means is the mean of all tokens."""
    row = context.rows(1)[0]
    return [row, {**row, "input_ids": row["input_ids"][::-1], "labels": row["labels"]}]


def _rank(rank: int, context: CheckContext, folder: str) -> None:
    """One of the two processes; the first one writes sum, loss and gradient."""
    device = torch.device("cuda", rank) if context.device.type == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend, address = ("nccl" if device.type == "cuda" else "gloo"), f"file://{folder}/group"
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=2)
    number = torch.tensor(float(rank + 1), device=device)
    dist.all_reduce(number)
    model = nn.parallel.DistributedDataParallel(
        CheckContext(device, context.folder).training_model("lora", "fp32"),
        device_ids=[device] if device.type == "cuda" else None,
    )
    loss, gradient = loss_and_gradient(model, padded(_two_rows(context)[rank : rank + 1]), "fp32")
    mean = torch.tensor(loss, device=device)
    dist.all_reduce(mean)
    if rank == 0:
        results = {"sum": float(number), "loss": float(mean) / 2, "gradient": gradient}
        torch.save(results, Path(folder) / "0")
    dist.barrier()
    os._exit(0)  # destroying the group would wait for a rank that has ended


def sweep(context: CheckContext) -> Figures:
    """A sweep whose worker is killed trains all of its trials; time and memory are noted."""
    folder = Path(tempfile.mkdtemp(dir=context.folder))
    rows = [{"instruction": f"say {n % 7}", "output": f"{n % 7} " * 8} for n in range(96)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    arguments = (
        f"run --new --name killed --model {context.model} --data rows.jsonl --task instruction "
        "--strategies lora --trials 2 --finalists 1 --confirmation-seeds 1 --epochs 2 "
        "--generate-items 0 --progress none --workers 1"
    )
    run, log = RunFolder(folder / "runs" / "killed"), folder / "log"
    killed, deadline = 0, time.monotonic() + _MAX_SWEEP_SECONDS
    environment = {**os.environ, "SWEEPER_HOME": str(folder / "home")}
    with log.open("w") as output:
        command = [sys.executable, "-m", "sweeper", *arguments.split()]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if not killed and attempt_folder(run.trial(0), 1).is_dir():
                    for worker in _worker_ids(process.pid):
                        os.kill(worker, signal.SIGKILL)
                        killed += 1
                time.sleep(0.05)
        finally:
            process.kill()
    status = process.wait()
    if status:
        ending = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise Failed(f"the sweep ended with {status}: {' '.join(ending)}", killed_workers=killed)
    planned = Plan.read(run.plan).candidates[0]
    trials = [TrialResult.read(run.trial(n) / "result.json") for n in range(2)]
    trial = trials[-1]
    seconds = trial.training_seconds + trial.evaluation_seconds
    figures: Figures = {
        "killed_workers": killed,
        "attempts": max(result.attempt for result in trials),
        "lost_trials": sum(result.state == "FAIL" for result in trials),
        "planned_seconds": planned.duration.seconds,
        "seconds": seconds,
        "tokens_per_second": trial.tokens / trial.training_seconds,
        "predicted_gib": trial_gib(planned.memory),
        "allocated_gib": trial.peak_memory_gib or 0.0,
    }
    if figures["lost_trials"] or not killed:
        raise Failed("a trial was lost, or no worker could be killed", **figures)
    return figures


def _worker_ids(command_id: int) -> list[int]:
    """The process ids of a command's workers."""
    children = psutil.Process(command_id).children(recursive=True)
    return [child.pid for child in children if WORKER in child.cmdline()]


Check = Callable[[CheckContext], Figures]
_OPTIMIZERS = (
    "adamw_torch_fused", "adamw_torch", "adamw_bnb_8bit", "adamw_torch_8bit", "adamw_torch_4bit",
    "paged_adamw_32bit", "paged_adamw_8bit", "adafactor", "sgd", "lion_32bit", "lion_8bit",
)  # fmt: skip
_PRECISIONS: tuple[Precision, ...] = ("bf16-mixed", "fp16-mixed", "bf16-pure")
CHECKS: dict[str, Check] = {
    "device": device,
    **{name: partial(precision, name=name) for name in _PRECISIONS},
    "joined rows": partial(joined_rows, attention=ATTENTION_BY_TEXT),
    **{
        name: partial(joined_rows, attention=name)
        for name in ("flash_attention_2", "flash_attention_3")
    },
    "4-bit": four_bits,
    "merge and reload": merging,
    **{f"optimizer {name}": partial(optimizer, name=name) for name in _OPTIMIZERS},
    **{f"step {name}": partial(training_step, strategy=name) for name in ("lora", "qlora", "full")},
    "out of memory": out_of_memory,
    "two ranks": ranks,
    "killed worker": sweep,
    # Last, since it changes rotary positions for all later checks of its process.
    "fused kernels": fused_kernels,
}


def result(name: str, context: CheckContext) -> Result:
    """Run one check."""
    start = time.perf_counter()
    state, detail, figures = "ok", "", Figures()
    try:
        with warnings.catch_warnings(action="ignore"):
            figures = CHECKS[name](context)
    except (NotRun, ImportError) as error:
        state, detail = "not run", str(error)
    except Exception as error:  # noqa: BLE001 - whatever does not work is a result
        state, figures = "failed", getattr(error, "figures", {})
        detail = f"{type(error).__name__}: {error}"
    seconds = round(time.perf_counter() - start, 2)
    detail = clean(detail.replace(str(context.folder), "")).split("\n")[0][:300]
    return Result(name=name, state=state, detail=detail, figures=figures, seconds=seconds)


def answer(request: CheckRequest) -> CheckAnswer:
    """Run the checks that have no result yet; end after one that fails, as it may break the GPU."""
    cuda = torch.cuda.is_available()
    context = CheckContext(torch.device("cuda" if cuda else "cpu"), Path(request.folder))
    for name in CHECKS:
        if name in request.done or (request.only and name not in request.only):
            continue
        tell_event(**{BEGUN: name})
        checked = result(name, context)
        tell_event(**checked.model_dump())
        if checked.state == "failed" and cuda:
            return CheckAnswer(complete=False)
    return CheckAnswer(complete=True)
