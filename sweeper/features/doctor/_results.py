"""Runs the checks of ``_checks`` in child processes, which load torch."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.cache import home
from sweeper.child_process import in_child
from sweeper.errors import ChildFailed
from sweeper.safe_text import clean

FUNCTION = "sweeper.features.doctor._checks:answer"
# Field of an event with the name of the check that begins.
BEGUN = "begun"
# A process that takes longer than this is taken to hang.
MAX_SECONDS = 1800.0
# Checks at the first use of a device, which decide how trials train.
QUICK = (
    "device", "bf16-mixed", "fp16-mixed", "joined rows", "flash_attention_2", "flash_attention_3",
    "4-bit", "fused kernels",
)  # fmt: skip
# Time limit of all processes of the quick checks together.
QUICK_SECONDS = 120.0
_DRIVER = Path("/proc/driver/nvidia/version")
# Packages whose versions decide what works.
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "flash-attn", "liger-kernel")
State = Literal["ok", "failed", "not run"]


class CheckRequest(Record):
    """The checks to run.

    Args:
        folder: Folder for their files.
        done: Names of checks that have a result.
        only: Names of the checks to run; all of them if empty.
    """

    folder: str
    done: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


class CheckAnswer(Record):
    """Whether every check of the request has a result now."""

    complete: bool


class Result(Record):
    """The result of one check.

    Args:
        detail: Why it failed or was not run.
        figures: What it measured, with units in the names.
    """

    name: str
    state: State
    detail: str = ""
    figures: dict[str, float | int | str] = Field(default_factory=dict)
    seconds: float = 0.0

    def text(self) -> str:
        """The detail and the figures."""
        figures = (
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.figures.items()
        )
        return "; ".join(filter(None, (self.detail, ", ".join(figures))))


class Results(Artifact):
    """All results of one device, without host names and paths.

    Args:
        timed_out: Whether a time limit ended checks, which are tried again.
    """

    versions: dict[str, str]
    results: tuple[Result, ...]
    timed_out: bool = False

    def check_names(self, state: State) -> tuple[str, ...]:
        """The names of the checks with this state."""
        return tuple(result.name for result in self.results if result.state == state)

    @property
    def device(self) -> dict[str, float | int | str]:
        """The device's figures; empty if the first check failed."""
        return next((check.figures for check in self.results if check.name == "device"), {})


def results(
    only: tuple[str, ...] = (),
    total_seconds: float | None = None,
    *,
    tell: Callable[[Result], None] = lambda _result: None,
) -> Results:
    """Run the checks. If a process breaks, the check counts as failed; if it hangs, as not run.

    Args:
        only: Names of the checks; all of them if empty.
        total_seconds: Limit of all processes together; ``MAX_SECONDS`` for each if None.
    """
    finished: list[Result] = []
    start, begun, timed_out = monotonic(), "", False

    def on_event(event: dict[str, Any]) -> None:
        nonlocal begun
        begun = event.get(BEGUN, "")
        if not begun:
            finished.append(Result.model_validate(event))
            tell(finished[-1])

    with tempfile.TemporaryDirectory(prefix="sweeper-gpu-") as folder:
        complete = False
        while not complete:
            begun, done = "", tuple(result.name for result in finished)
            request = CheckRequest(folder=folder, only=only, done=done)
            seconds = total_seconds - (monotonic() - start) if total_seconds else MAX_SECONDS
            if seconds <= 0:
                timed_out = True
                break
            try:
                answer = in_child(
                    FUNCTION,
                    request,
                    CheckAnswer,
                    what="the process",
                    seconds=seconds,
                    on_event=on_event,
                )
                complete = answer.complete
            except ChildFailed as error:
                complete = not begun  # otherwise, a new process runs the other checks
                state: State = "failed" if error.status is not None else "not run"
                timed_out = timed_out or error.status is None
                what = clean(error.problems[0].what)
                on_event(Result(name=begun or "process", state=state, detail=what).model_dump())
    return Results(versions=versions(), results=tuple(finished), timed_out=timed_out)


def versions() -> dict[str, str]:
    """The versions of the driver and of ``_PACKAGES``."""
    installed = {}
    if _DRIVER.is_file():
        words = _DRIVER.read_text(encoding="utf-8", errors="replace").split("\n")[0].split()
        installed["driver"] = next((word for word in words if word.replace(".", "").isdigit()), "")
    for name in _PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def quick_results_file(device: str) -> Path:
    """The file of the quick results of a device, for the installed versions."""
    key = hashlib.sha256(f"{device}|{versions()}".encode()).hexdigest()[:16]
    return home() / "device-checks" / f"{key}.json"


def markdown(checked: Results) -> str:
    """The results as one block of Markdown."""
    device = ", ".join(f"{key} {value}" for key, value in checked.device.items())
    packages = ", ".join(f"{name} {value}" for name, value in checked.versions.items())
    lines = [f"**{device or 'no device'}**; {packages}", ""]
    if checked.device.get("gpus") == 0:
        lines += ["torch sees no GPU: the checks ran on the CPU.", ""]
    lines += ["| check | state | figures |", "|---|---|---|"]
    for result in checked.results:
        text = result.text().replace("|", "\\|")
        lines.append(f"| {result.name} | {result.state} | {text} |")
    return "\n".join(lines)
