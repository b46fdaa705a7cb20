"""Processes of their own, such as those that load torch: both ends of a question."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from sweeper.artifact import Artifact
from sweeper.errors import SweeperError
from sweeper.jsontext import object_of

_PR_SET_PDEATHSIG = 1
R = TypeVar("R", bound=Artifact)


class NoAnswer(Exception):
    """The process failed or took too long; its text is the reason.

    Args:
        reason: The last line that it wrote to standard error.
        status: Exit status, negative for a signal; None if it took too long.
    """

    def __init__(self, reason: str, status: int | None):
        super().__init__(reason)
        self.status = status


def quiet_threads(threads: int | None) -> dict[str, str]:
    """The environment of a process that trains beside others, to be set before torch is loaded.

    Threads wait without spinning: two torch processes at default threads on two cores slow small
    operations fifty-fold (measured).
    """
    count = str(threads or os.cpu_count() or 1)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


def start(
    module: str, *arguments: str, threads: int | None = 1, **options: Any
) -> subprocess.Popen[Any]:
    """A process with pipes for standard input and output.

    Args:
        module: Run with ``python -m``.
        threads: For torch; all cores if None.
        options: Further arguments of ``Popen``.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **quiet_threads(threads), "TQDM_DISABLE": "1"},
        **options,
    )


def ask(module: str, question: str, *, seconds: float, threads: int | None = None) -> str:
    """The last line that a module writes to standard output.

    Args:
        module: Run with ``python -m``.
        seconds: It is ended after that long.
        threads: For torch; all cores if None.

    Raises:
        NoAnswer: It failed, or it took too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=question,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **quiet_threads(threads)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"it took longer than {seconds:g} s", None) from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise NoAnswer(said[-1] if said else f"it ended with {done.returncode}", done.returncode)
    return (done.stdout.splitlines() or [""])[-1]


def ask_object(
    module: str, question: str, *, seconds: float, threads: int | None = None
) -> dict[str, Any]:
    """The JSON object in the last line that a module writes; see ``ask``.

    Raises:
        NoAnswer: It failed, took too long, or that line holds no object.
    """
    answer = ask(module, question, seconds=seconds, threads=threads)
    try:
        return object_of(answer)
    except ValueError as error:
        raise NoAnswer(f"its answer cannot be read ({error})", 0) from error


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however it ends (Linux).

    Elsewhere whoever is tied must notice by itself. A parent that ended before this call is
    noticed here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)


def answer_question(answer: Callable[[str], Any]) -> None:
    """Print the answer to the text on standard input as one line of JSON; an error on stderr."""
    try:
        print(json.dumps(answer(sys.stdin.read())))
    except SweeperError as error:
        print(error.problems[0].what, file=sys.stderr)
        sys.exit(error.exit_code)


def answer_request(kind: type[R], answer: Callable[[R], None]) -> None:
    """Answer the request on standard input, in a process of its own that ends with its parent.

    Args:
        kind: The type of the request.
        answer: Does what is asked. Its errors are printed as one line of JSON.
    """
    die_with(int(sys.argv[1]))
    request = kind.from_json(sys.stdin.read())
    try:
        answer(request)
    except SweeperError as error:
        problems = [vars(problem) for problem in error.problems]
        failed = {"event": "failed", "exit_code": error.exit_code, "problems": problems}
        print(json.dumps(failed), flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
