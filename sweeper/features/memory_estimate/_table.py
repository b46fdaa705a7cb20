"""Makes a set-up from flags, and prints the answer of ``sweeper memory``: a table, or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from rich.table import Table

from sweeper.child_process import in_child
from sweeper.errors import Problem, UsageError, near_match
from sweeper.facts.machine import gpus
from sweeper.facts.models.linear_layers import generic_targets, linears, targeted
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import ModelFacts
from sweeper.features.memory_estimate._answer import DryRun, MemoryAnswer
from sweeper.hyperparameters import TARGET_MODULES
from sweeper.memory.estimate import estimate, tensors_gib, trial_gib
from sweeper.memory.setup import OPTIMIZERS, Setup, SetupRequest
from sweeper.packages import TRAINING, require
from sweeper.planning.costs.setups import setup_fields
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import MemoryEstimate
from sweeper.processes import probe_process
from sweeper.spec import ModelSpec
from sweeper.traits.traits import TARGETED, Traits, known_strategies
from sweeper.units import count, gib
from sweeper.views.console import out, say, show_line

#: Tokens of an example if no length is given and the model's context is not shorter.
_DEFAULT_TOKENS = 1024
#: A dry run takes seconds, or about a minute with hundreds of layers.
_DRY_RUN_TIMEOUT_SECONDS = 600
#: Fields of a probe that go into the JSON.
_PROBE_FIELDS = {
    "peak_gib",
    "reserved_gib",
    "seconds_per_step",
    "out_of_memory",
    "when",
    "versions",
}
#: Sources of the parts of an estimate that do not follow from shapes and operations.
_ORIGINS = {
    "library workspace": "measured: 16 MiB stay between steps (fms-acceleration's benchmark, A100)",
    "allocator slack": "fitted on 82 runs on cards of 80 GiB (fms-acceleration's benchmark)",
    "device context": "assumed: 0.5 GiB on cards since Ampere; it was 1.3 GiB on a V100",
    "process": "measured: Python, torch, transformers and peft in main memory",
}
#: Their sources on a CPU, where they differ.
_CPU_ORIGINS = {"allocator slack": "fitted on 37 trials of the packaged models, benchmarks/memory"}


def checked_setup(**fields: Any) -> Setup:
    """A set-up from flags; ``target_modules`` may be names with commas.

    Raises:
        UsageError: Strategy or optimizer is unknown.
    """
    problems = [
        Problem(
            f"{value!r} is not a known {name}", fix=near_match(value, choices), where=f"--{name}"
        )
        for name, choices in (("strategy", known_strategies()), ("optimizer", OPTIMIZERS))
        if (value := fields.get(name)) is not None and value not in choices
    ]
    if problems:
        raise UsageError(problems)
    if fields.get("quantization") in ("gptq", "awq"):
        fields["quantization"] = "int4"
    targets = fields.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear":
        fields["target_modules"] = tuple(t.strip() for t in targets.split(",") if t.strip())
    return Setup(**fields)


def check_targets(model: ModelFacts, setup: Setup) -> None:
    """Check that every target module exists in the model.

    Raises:
        UsageError: A name matches no linear layer; the error suggests names.
    """
    targets = setup.target_modules
    targets = (targets,) if isinstance(targets, str) else targets
    names = {linear.name for linear in linears(model)} | set(generic_targets())
    problems = [
        Problem(
            f"{model.id} has no linear layer named {target!r}",
            fix=near_match(target, names),
            where="--target-modules",
        )
        for target in targets
        if not targeted(model, (target,))
    ]
    if problems:
        raise UsageError(problems)


def default_fields(traits: Traits) -> dict[str, Any]:
    """The strategy's defaults for the fields of a set-up that decide how many parameters it trains.

    Target modules are left out, as ``--target-modules`` has a default of its own.
    """
    declared = rule_book().strategies[traits.name].parameters
    names = sorted(traits.parameters() & declared.keys() - {TARGET_MODULES})
    return setup_fields(traits, {name: declared[name].default for name in names})


def print_setup(
    model_id: str | None,
    setup: Setup,
    *,
    gpu_memory: float | None,
    gpu: str | None,
    with_dry_run: bool,
    with_probe: bool,
    as_json: bool,
) -> None:
    """Print the estimate of one set-up, with the dry run and the probe if requested."""
    if model_id is None:
        raise UsageError("no model is named", fix="Give --model ID.")
    model = model_facts(ModelSpec(id=model_id))
    if setup.traits.adds in TARGETED:
        check_targets(model, setup)
    virtual_tokens = setup.positions - setup.sequence_length
    if "sequence_length" not in setup.model_fields_set:
        room = model.context_length - virtual_tokens
        setup = setup.replace(sequence_length=max(min(_DEFAULT_TOKENS, room), 1))
    if setup.positions > model.context_length and model.source != "size":
        added = f" and {virtual_tokens} virtual tokens" if virtual_tokens else ""
        say(
            f"warning: {setup.sequence_length:,} tokens{added} exceed the model's context of "
            f"{model.context_length:,}. A plan stays within the context."
        )
    limit = gpu_memory
    if limit is None and gpu:
        limit = gpus.by_name(gpu).memory_gib
    predicted = estimate(model, setup, limit or 0.0)
    dry_run_answer = dry_run(model, setup) if with_dry_run else None
    probed = probe_process.probe(model, setup, tell=say) if with_probe else None
    fits = None if limit is None else predicted.high_gib <= limit
    if as_json:
        answer = MemoryAnswer.taken_from(
            predicted,
            model=model.id,
            setup=setup,
            limit_gib=limit,
            fits=fits,
            dry_run=dry_run_answer,
            origins=origins(predicted.parts, setup.device),
            not_modelled=not_modelled(model, setup),
            probe=None if probed is None else probed.model_dump(include=_PROBE_FIELDS),
        )
        typer.echo(answer.model_dump_json(indent=2))
        return
    _print_table(model, setup, predicted, limit)
    if dry_run_answer is not None:
        out().print(_dry_run_line(dry_run_answer, predicted))
    if probed is not None:
        show_line(probe_process.line(probed, trial_gib(predicted)))


def _print_table(
    model: ModelFacts, setup: Setup, predicted: MemoryEstimate, limit: float | None
) -> None:
    """Print the parts of an estimate, its interval, its assumptions and whether it fits."""
    table = Table(title=_title(model, setup), title_justify="left")
    table.add_column("part")
    table.add_column("GiB", justify="right")
    table.add_column("from")
    sources = origins(predicted.parts, setup.device)
    for name, size in sorted(predicted.parts.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{size:.2f}", sources[name])
    table.add_section()
    table.add_row("peak", f"{predicted.peak_gib:.2f}", style="bold")
    out().print(table)
    low, high = gib(predicted.low_gib), gib(predicted.high_gib)
    out().print(f"9 of 10 such runs should be between {low} and {high}.")
    out().print("Assumed: " + "; ".join(predicted.assumptions) + ".")
    out().print(
        "Not included (these would raise the peak): " + "; ".join(not_modelled(model, setup)) + "."
    )
    if limit is not None:
        verdict = "fits" if predicted.high_gib <= limit else "may not fit"
        if predicted.peak_gib > limit:
            verdict = "does not fit"
        out().print(
            f"It {verdict} {gib(limit)}.{_with_checkpointing(model, setup, limit, predicted)}"
        )


def _with_checkpointing(
    model: ModelFacts, setup: Setup, limit: float, predicted: MemoryEstimate
) -> str:
    """A sentence on the peak with checkpointing; empty if the set-up fits or uses it already."""
    if predicted.high_gib <= limit or setup.gradient_checkpointing:
        return ""
    checkpointed = estimate(model, setup.replace(gradient_checkpointing=True), limit)
    return f" With --gradient-checkpointing the peak is {gib(checkpointed.peak_gib)}."


def _title(model: ModelFacts, setup: Setup) -> str:
    return (
        f"{setup.strategy} of {model.id} ({count(model.parameters)} parameters), "
        f"{setup.precision}, {setup.micro_batch} x {setup.sequence_length} tokens"
        f"{', checkpointing' if setup.gradient_checkpointing else ''}"
    )


def _dry_run_line(dry_run_answer: DryRun, predicted: MemoryEstimate) -> str:
    tensors = dry_run_answer.peak_gib
    overhead = predicted.peak_gib - tensors_gib(predicted)
    return (
        f"Dry run: {gib(tensors)} in tensors at the peak ({dry_run_answer.phase}, "
        f"{dry_run_answer.seconds:.1f} s), {gib(tensors + overhead)} with "
        "the memory outside of tensors."
    )


def dry_run(model: ModelFacts, setup: Setup) -> DryRun:
    """Run training steps of the real model class, adapter and optimizer on the meta device.

    Raises:
        SweeperError: The model class has no dry run, or a package for training is missing.
    """
    require("A dry run", TRAINING)
    return in_child(
        "sweeper.features.memory_estimate._dry_run:answer",
        SetupRequest(model=model, setup=setup),
        DryRun,
        what="the dry run",
        fix="Leave out --dry-run to get the estimate alone.",
        where="--dry-run",
        seconds=_DRY_RUN_TIMEOUT_SECONDS,
        threads=1,
    )


def origins(parts: Iterable[str], device: str) -> dict[str, str]:
    """The source of each part's size, by part."""
    origins_here = _ORIGINS | (_CPU_ORIGINS if device == "cpu" else {})
    return {name: origins_here.get(name, "derived from shapes") for name in parts}


def not_modelled(model: ModelFacts, setup: Setup) -> tuple[str, ...]:
    """Uses of memory that the estimate does not count."""
    on_gpu, moe = setup.device == "cuda", model.moe
    has_other_mlps = moe is not None and (moe.shared_intermediate_size or model.layers > moe.layers)
    conditions = {
        "other programs on the GPU, such as a desktop": on_gpu,
        "freed blocks that PyTorch keeps while there is room, which nvidia-smi shows": on_gpu,
        "memory pools of torch.compile and CUDA graphs": on_gpu,
        "slower attention kernels on cards older than Ampere": on_gpu,
        "the data set, and what the data loader copies of it": not on_gpu,
        "NCCL's buffers": setup.gpus > 1,
        "the KV cache of answers that evaluation generates": not setup.classes,
        "routers that send most tokens to few experts; equal shares are assumed": moe is not None,
        "a copy of all experts of a layer, which PEFT makes if --target-modules also matches the "
        "stacked experts, as in DeepSeek": (has_other_mlps and setup.traits.adds == "low-rank"),
        "scans and convolutions of layers without attention": not model.attention_only,
        "scratch memory of GPTQ and AWQ kernels, and layers that they leave out": (
            setup.quantization == "int4"
        ),
        "optimizer states that stay on the GPU until it is full": "paged" in setup.optimizer,
        "models that recompute more than one layer at a time": setup.gradient_checkpointing,
    }
    return tuple(use for use, applies in conditions.items() if applies)
