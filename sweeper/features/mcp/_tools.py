"""The tools that an agent may call. Each is a command of sweeper, in a process of its own.

A command gets no terminal, so it asks no question. A value that starts with a dash is not read as
a flag. Agents read the docstrings and descriptions of the tools.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sweeper.artifact import Record

_COMMAND_TIMEOUT_SECONDS = 900
# A run that is refused ends within this time; one that goes on was accepted.
_START_SECONDS = 60
# The last characters of a command's output that an agent gets.
_MAX_MESSAGE_CHARACTERS = 4_000

Task = Literal["classification", "instruction", "code", "domain"]
_Task = Annotated[Task, Field(description="what the model is to learn")]
_Model = Annotated[
    str | None, Field(description="hub id, local folder, packaged:smollm2, or a size such as 7B")
]
_Data = Annotated[str | None, Field(description="file or folder with rows")]
_Examples = Annotated[int | None, Field(description="number of rows, if there are no data yet")]
_Gpu = Annotated[str | None, Field(description="name of the GPU, such as RTX 4090")]
_Memory = Annotated[float | None, Field(description="GPU memory in GiB, instead of a name")]
_Price = Annotated[float | None, Field(description="US dollars for one GPU hour")]
_Budget = Annotated[str | None, Field(description="limit for everything: 2h, 8gpuh or 30usd")]
_Name = Annotated[str, Field(description="name of the run")]


class ToolAnswer(Record):
    """What a command printed.

    Args:
        ok: Whether it did what was asked. If not, ``messages`` say why and what to do.
        exit_code: 0, or 1 if the command failed or took too long, 2 for a wrong request, 3 if
            nothing fits the hardware, 4 if no trial completed or there is no verdict yet, 5 if a
            limit or check was not met.
        answer: The JSON that the command printed; None if it printed none.
    """

    ok: bool
    exit_code: int
    answer: Any = None
    messages: str = ""


def plan(
    task: _Task, model: _Model = None, data: _Data = None, examples: _Examples = None,
    gpu: _Gpu = None, gpu_memory: _Memory = None, price: _Price = None, budget: _Budget = None,
) -> ToolAnswer:  # fmt: skip
    """Which method and hyperparameters suit this data and machine, with reasons, memory and time.

    Ask before writing a training script. It trains nothing and takes seconds. Without a model it
    compares several.
    """
    request_flags = {"task": task, "model": model, "data": data, "examples": examples, "gpu": gpu}
    flags = {**request_flags, "gpu_memory": gpu_memory, "price": price, "budget": budget}
    reply = _run_command(["plan", "--json"], flags)
    return reply.model_copy(update={"answer": _summary(reply.answer)}) if reply.answer else reply


def review(
    file: Annotated[str, Field(description="a trainer's configuration, or a script")],
    data: _Data = None, examples: _Examples = None, gpu: _Gpu = None, gpu_memory: _Memory = None,
    price: _Price = None,
) -> ToolAnswer:  # fmt: skip
    """What is wrong with a configuration of Axolotl, LLaMA-Factory, TRL, torchtune or LitGPT.

    Ask before starting such a training: whether it fits into memory, how long it takes,
    contradictory settings, values outside published ranges, and a patch. Exit code 5 means that
    there is an error to fix first.
    """
    flags = {"data": data, "examples": examples, "gpu": gpu, "gpu_memory": gpu_memory}
    return _run_command(["review", "--json"], flags | {"price": price}, file)


def memory(
    model: Annotated[str, Field(description="hub id, local folder, or a size such as 7B")],
    strategy: Annotated[str, Field(description="full, lora, qlora or another strategy")] = "lora",
    rank: int | None = None, micro_batch: int = 1, sequence_length: int = 1024,
    gradient_checkpointing: bool = False, gpu: _Gpu = None, gpu_memory: _Memory = None,
) -> ToolAnswer:  # fmt: skip
    """The peak GPU memory of one training set-up, with its parts and a 90% interval."""
    shape = {"rank": rank, "micro_batch": micro_batch, "sequence_length": sequence_length}
    flags = {"model": model, "strategy": strategy, **shape, "gpu": gpu, "gpu_memory": gpu_memory}
    return _run_command(
        ["memory", "--json"], {**flags, "gradient_checkpointing": gradient_checkpointing}
    )


def check_data(
    path: Annotated[str, Field(description="file or folder with rows")],
    task: Task | None = None, model: _Model = None,
) -> ToolAnswer:  # fmt: skip
    """The faults of a data set, such as duplicates, leaks and wrong labels, and how to fix them.

    Ask before planning. Fix what is serious, and never delete rows by a rule of your own.
    """
    return _run_command(["data", "check", "--json"], {"task": task, "model": model}, path)


def run(
    name: Annotated[str, Field(description="a new name of letters, digits, '-' and '_'")],
    task: _Task, model: Annotated[str, Field(description="the base model")],
    data: Annotated[str, Field(description="file or folder with rows")],
    trials: Annotated[int | None, Field(description="configurations to try")] = None,
    epochs: float | None = None, max_length: int | None = None, strategies: str | None = None,
    timeout: Annotated[str | None, Field(description="end the search after 15m or 2h")] = None,
    budget: _Budget = None, price: _Price = None,
) -> ToolAnswer:  # fmt: skip
    """Start a sweep in the background, and return at once; it goes on when the agent ends.

    Plan first, and tell the user what it will cost. Ask status for progress, about once a minute.
    The same call continues an interrupted run.
    """
    if not re.fullmatch(r"\w[\w-]{0,60}", name):
        return ToolAnswer(ok=False, exit_code=2, messages="name: use letters, digits, '-' and '_'.")
    required = {"name": name, "task": task, "model": model, "data": data, "trials": trials}
    settings = {
        "epochs": epochs, "max_length": max_length, "strategies": strategies, "timeout": timeout
    }  # fmt: skip
    command_line = _command_line(
        ["run", "--progress", "none"], {**required, **settings, "budget": budget, "price": price}
    )
    runs = Path("runs")
    runs.mkdir(exist_ok=True)
    log, status = runs / f"{name}.log", runs / name / "status.json"
    last_change = status.stat().st_mtime if status.is_file() else 0.0
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command_line, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if status.is_file() and status.stat().st_mtime > last_change:
            break
        time.sleep(0.2)
    code = process.poll() or 0
    messages = "" if code == 0 else log.read_text(encoding="utf-8")[-_MAX_MESSAGE_CHARACTERS:]
    answer = {"name": name, "folder": str(runs / name), "log": str(log)}
    return ToolAnswer(ok=code == 0, exit_code=code, answer=answer, messages=messages)


def status(name: _Name) -> ToolAnswer:
    """How far a run is: its phase, ended trials, best so far, warnings.

    Its figures before the verdict are validation scores of single trials. Do not report them as
    results.
    """
    reply = _run_command(["show", "--json"], {}, name)
    return reply.model_copy(update={"answer": (reply.answer or {}).get("status")})


def verdict(name: _Name) -> ToolAnswer:
    """What a finished run found, on a test split that was scored once.

    Report its sentence as it is. Never call a difference real unless the verdict does, and never
    score the test split yourself.
    """
    reply = _run_command(["show", "--json"], {}, name)
    answer = (reply.answer or {}).get("verdict")
    if reply.ok and answer is None:
        messages = "There is no verdict yet. It comes soon after status says complete."
        return ToolAnswer(ok=False, exit_code=4, messages=messages)
    return reply.model_copy(update={"answer": answer})


def predict(
    name: _Name,
    text: Annotated[str, Field(description="one input, as in the rows")],
    max_new_tokens: int = 256,
) -> ToolAnswer:
    """The answer of a run's recommended model to one text. It loads the model, which takes time."""
    flags = {"max_new_tokens": max_new_tokens}
    return _run_command(["predict", "--json", "--quiet"], flags, name, text)


TOOLS = (plan, review, memory, check_data, run, status, verdict, predict)


def _command_line(command: list[str], flags: Mapping[str, object], *values: str) -> list[str]:
    """The command line, without flags that are None or False."""
    flag_values = {name.replace("_", "-"): value for name, value in flags.items()}
    options = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in flag_values.items()
        if value is not None and value is not False
    ]
    arguments = ["--", *values] if values else []
    return [sys.executable, "-m", "sweeper", *command, *options, *arguments]


def _run_command(command: list[str], flags: Mapping[str, object], *values: str) -> ToolAnswer:
    """Run a command. ``answer`` is the JSON that it prints, or None."""
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "100"}
    try:
        process = subprocess.run(
            _command_line(command, flags, *values), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=_COMMAND_TIMEOUT_SECONDS, env=environment,
            check=False,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, ValueError) as error:  # ValueError: a NUL in an argument
        return ToolAnswer(ok=False, exit_code=1, messages=str(error)[:_MAX_MESSAGE_CHARACTERS])
    try:
        answer = json.loads(process.stdout)
    except ValueError:
        answer = None
    return ToolAnswer(
        ok=process.returncode == 0,
        exit_code=process.returncode,
        answer=answer,
        messages=process.stderr[-_MAX_MESSAGE_CHARACTERS:],
    )


def _summary(plan: dict[str, Any]) -> dict[str, Any]:
    """The parts of a plan that an agent needs; the whole JSON fills its context."""
    candidates = [
        {
            **{key: candidate[key] for key in ("strategy", "model", "expected_quality")},
            "micro_batch": candidate["setup"]["micro_batch"],
            "memory_gib": [
                candidate["memory"][end] for end in ("low_gib", "high_gib", "limit_gib")
            ],
            "trial_seconds": candidate["duration"],
            "defaults": {name: value["default"] for name, value in candidate["parameters"].items()},
            "ranges": {
                name: [value["low"], value["high"]]
                for name, value in candidate["parameters"].items()
                if value["searched"] and value["low"] is not None
            },
        }
        for candidate in plan["candidates"]
    ]
    texts = {key: [note["why"] for note in plan[key]] for key in ("warnings", "advice")}
    rejected = [
        {key: entry[key] for key in ("strategy", "model", "reason")} for entry in plan["rejected"]
    ]
    budget = {key: plan.get("budget", {}).get(key) for key in ("trials", "sweep", "cost_usd")}
    summary = {"recommended": plan["recommended"], "candidates": candidates, "rejected": rejected}
    return {**summary, "budget": budget, "data": plan["facts"]["data"]["warnings"], **texts}
