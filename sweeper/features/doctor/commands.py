"""``sweeper doctor``: what works on this machine, and how to fix what does not."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sweeper import cache
from sweeper.errors import UsageError
from sweeper.facts.machine.hardware import processor
from sweeper.features import parts
from sweeper.features.doctor._results import (
    QUICK,
    QUICK_SECONDS,
    markdown,
    results,
    versions,
)
from sweeper.features.parts import MachineCheck
from sweeper.packages import RUNS, TRAINING, install_command, missing, require
from sweeper.views.console import say, show_line

ORDER = 110  # position in the help
commands = typer.Typer()

# Time limit of the request to the hub.
HUB_SECONDS = 3.0
# Libraries of the checks, and whether training needs them.
_LIBRARIES = {"torch": True, "transformers": True, "peft": True, "bitsandbytes": False}
# Checks of the device, and what to do where they fail.
_FIXES = {
    "process": f"Install again: pip install --force-reinstall {' '.join(_LIBRARIES)}",
    "device": "Install the GPU's driver and a torch build for it.",
    "bf16-mixed": "Train with --precision fp16-mixed or fp32 here.",
    "4-bit": "pip install bitsandbytes; without it QLoRA cannot train.",
    "optimizer adamw_bnb_8bit": "Leave out the strategy full where its plan has adamw_bnb_8bit.",
    "optimizer paged_adamw_8bit": "It needs an NVIDIA GPU; elsewhere states stay in memory.",
}
# Room for the smallest base model, MiniLM with 22.7 million weights of four bytes, and an adapter.
_MIN_DISK_GIB = 0.5
# A worker that trains the smallest model holds 0.94 to 1.16 GiB (measured, resident).
_MIN_MEMORY_GIB = 1.0


def examine() -> Iterator[MachineCheck]:
    """The results of all checks, each as soon as its check ends."""
    yield from training()
    yield search_and_reports()
    for _, doctor in parts.DOCTOR.all():
        yield from doctor()
    yield hub_access()
    yield disk(Path("runs"), "disk for runs")
    yield disk(cache.home(), "disk for caches")
    yield memory()


def can_train(checks: list[MachineCheck]) -> bool:
    """Whether all needed checks succeeded."""
    return all(check.state == "works" for check in checks if check.needed)


def training() -> Iterator[MachineCheck]:
    """The training libraries, and what works with them on this device."""
    installed = versions()
    for name, needed in _LIBRARIES.items():
        if name in installed:
            yield MachineCheck(name, "works", installed[name], needed=needed)
        else:
            fix = install_command("train")
            yield MachineCheck(name, "not installed", fix=fix, needed=needed)
    if not _LIBRARIES.keys() <= installed.keys():
        return
    for result in results(tuple(_FIXES), QUICK_SECONDS).results:
        needed = result.name in ("process", "device")
        if result.state == "ok":
            detail = result.text() if needed else ""
            yield MachineCheck(result.name, "works", detail, needed=needed)
        else:
            fix = _FIXES[result.name]
            yield MachineCheck(result.name, "does not work", result.detail, fix, needed)


def search_and_reports() -> MachineCheck:
    """Whether the packages for search and reports are installed; none is loaded."""
    name = "search, reports"
    for problem in missing("A sweep", [m for m in RUNS if m not in TRAINING]):
        return MachineCheck(name, "not installed", problem.what, problem.fix, needed=True)
    return MachineCheck(name, "works", needed=True)


def hub_access() -> MachineCheck:
    """Whether models can be downloaded, and whether a token is set."""
    from huggingface_hub import constants, get_token

    token = "a token is set" if get_token() else "no token is set, so gated models cannot be read"
    if constants.HF_HUB_OFFLINE:
        return MachineCheck("hub", "off", f"HF_HUB_OFFLINE is set; {token}")
    # The cheapest request; any answer shows that the hub is there.
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError) as error:
        return MachineCheck(
            "hub",
            "does not work",
            f"{constants.ENDPOINT} cannot be reached ({error}); {token}",
            "Models on this machine still work, and so do folders and packaged:NAME. Set "
            "HF_ENDPOINT for a mirror, HF_HUB_OFFLINE=1 to stop trying.",
        )
    return MachineCheck("hub", "works", f"{constants.ENDPOINT} answers; {token}")


def disk(folder: Path, name: str) -> MachineCheck:
    """Whether a folder can be written and has room for the smallest model."""
    existing_folder = folder.absolute()
    while not existing_folder.exists():
        existing_folder = existing_folder.parent
    if not os.access(existing_folder, os.W_OK):
        detail = f"{existing_folder} cannot be written"
        return MachineCheck(name, "does not work", detail, _other_folder_fix(name), needed=True)
    free = shutil.disk_usage(existing_folder).free / 2**30
    detail = f"{free:.1f} GiB free in {existing_folder}"
    if free < _MIN_DISK_GIB:
        return MachineCheck(name, "does not work", detail, _other_folder_fix(name), needed=True)
    return MachineCheck(name, "works", detail, needed=True)


def _other_folder_fix(name: str) -> str:
    action = "Set SWEEPER_HOME and HF_HOME to" if "caches" in name else "Start sweeper in"
    return f"{action} a folder with free space that you can write to."


def memory() -> MachineCheck:
    """Whether main memory, as limited by a container, is enough for a worker."""
    gib = processor().memory_gib
    detail = f"{gib:.1f} GiB"
    if gib < _MIN_MEMORY_GIB:
        fix = f"A worker needs about {_MIN_MEMORY_GIB:g} GiB. Use a larger machine."
        return MachineCheck("memory", "does not work", detail, fix, needed=True)
    return MachineCheck("memory", "works", detail, needed=True)


@commands.command("doctor")
def doctor(
    gpu: Annotated[
        bool,
        typer.Option(
            "--gpu",
            help="Train small models with random weights on this machine's device for minutes, and "
            "print what works as Markdown. Exit with 1 if a check failed or hung.",
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --gpu: only what the first run on a GPU checks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Try what sweeper needs on this machine; exit with 2 if nothing can be trained here."""
    if quick and not gpu:
        raise UsageError("--quick is for --gpu", fix="Use sweeper doctor --gpu --quick.")
    if gpu:
        require("sweeper doctor --gpu", RUNS)
        checked = results(
            *((QUICK, QUICK_SECONDS) if quick else ()),
            tell=lambda result: say(f"{result.name}: {result.state}"),
        )
        typer.echo(checked.to_json() if as_json else markdown(checked))
        raise typer.Exit(1 if checked.check_names("failed") or checked.timed_out else 0)
    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            line = f"{check.name:26} {check.state:14} {check.detail}".rstrip()
            show_line(line)
            if check.fix:
                show_line(f"{'':26} {check.fix}")
    trains = can_train(checks)
    if as_json:
        answer = {"can_train": trains, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(answer, indent=2))
    else:
        show_line("Training works here." if trains else "Nothing can be trained here.")
    if not trains:
        raise typer.Exit(2)
