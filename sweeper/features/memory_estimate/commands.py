"""``sweeper memory``: the peak memory of one training set-up."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from sweeper.memory.setup import Attention, Loss
from sweeper.plans import Precision

ORDER = 100
commands = typer.Typer()

Packing = Literal["nf4", "nf4-dq", "int8", "gptq", "awq"]


@commands.command("memory")
def memory(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Hub id, folder, packaged:minilm, packaged:smollm2 or a size such as 7B.",
        ),
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="full, lora, qlora, prefix, ptuning, adapter or head.")
    ] = "lora",
    rank: Annotated[
        int | None,
        typer.Option(
            "--rank", "-r", min=1, help="LoRA rank; the strategy's default, if not given."
        ),
    ] = None,
    target_modules: Annotated[
        str, typer.Option(help="all-linear, or names with commas: q_proj,v_proj.")
    ] = "all-linear",
    micro_batch: Annotated[int, typer.Option(min=1, help="Examples at a time.")] = 1,
    sequence_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens after padding or packing; 1,024 or the model's context, if not given.",
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option(help="Recompute activations in the backward pass.")
    ] = False,
    optimizer: Annotated[
        str, typer.Option(help="As TrainingArguments.optim spells it.")
    ] = "adamw_torch_fused",
    precision: Annotated[
        Precision, typer.Option(help="fp32, bf16-mixed, fp16-mixed or bf16-pure.")
    ] = "bf16-mixed",
    quantization: Annotated[
        Packing | None, typer.Option(help="nf4, nf4-dq, int8, gptq or awq; qlora means nf4-dq.")
    ] = None,
    attention: Annotated[Attention, typer.Option(help="eager, sdpa or flash.")] = "sdpa",
    loss: Annotated[
        Loss,
        typer.Option(
            help="How the loss is computed: full (as transformers does), kernel (a kernel that "
            "overwrites the logits with their gradients), chunked, fused (as Liger does) or "
            "by-rows (as sweeper's trials do)."
        ),
    ] = "full",
    classes: Annotated[
        int, typer.Option(min=0, help="Classes of a head; 0 for a model that writes.")
    ] = 0,
    gpus: Annotated[
        int,
        typer.Option(min=1, help="GPUs that train one model together, each with all of it (DDP)."),
    ] = 1,
    gpu_memory: Annotated[
        float | None,
        typer.Option(help="Memory of the device in GiB, to say whether the set-up fits."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="Name of the GPU, instead of --gpu-memory.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Train on the CPU.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            help="Also run two steps of the real model's code on torch's meta device, which holds "
            "no weights (takes seconds)."
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Also train a few steps on this machine, with random weights. The result is kept "
            "for later calls.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the estimate as JSON.")] = False,
) -> None:
    """Predict the peak memory of one training set-up, with its parts."""
    from sweeper.features.memory_estimate import _table
    from sweeper.traits.traits import find

    traits = find(strategy)
    stated = {"r": rank, "sequence_length": sequence_length}
    setup = _table.checked_setup(
        **(_table.default_fields(traits) if traits else {})
        | {name: value for name, value in stated.items() if value is not None},
        strategy=strategy,
        target_modules=target_modules,
        micro_batch=micro_batch,
        gradient_checkpointing=gradient_checkpointing,
        optimizer=optimizer,
        precision=precision,
        quantization=quantization or (traits.quantization if traits else None),
        attention=attention,
        loss=loss,
        classes=classes,
        gpus=gpus,
        device="cpu" if cpu else "cuda",
    )
    _table.print_setup(
        model,
        setup,
        gpu_memory=gpu_memory,
        gpu=gpu,
        with_dry_run=dry_run,
        with_probe=probe,
        as_json=as_json,
    )


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.memory_estimate._answer import MemoryAnswer

    return {"memory": MemoryAnswer}
