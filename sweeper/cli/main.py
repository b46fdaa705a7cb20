"""The program ``sweeper``: runs a command and shows errors.

Exit codes: 0 done, 1 a bug, 2 usage or configuration, 3 nothing fits, 4 no trial completed,
5 a limit was exceeded, 130 Ctrl-C, 143 terminated.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from collections.abc import Iterable
from textwrap import indent
from typing import Annotated, Any, TextIO

import typer

from sweeper import __version__
from sweeper.cli.find_commands import Commands
from sweeper.data.progress_lines import listen
from sweeper.errors import NothingFits, Problem, RunError, SweeperError, os_problem
from sweeper.features.loader import features_with
from sweeper.safe_text import shortened, visible

_OUT_OF_MEMORY = Problem(
    "the memory of this machine ran out",
    fix="Close other programs, give fewer rows (data.max_rows), or use more memory.",
)
_TOO_DEEP = Problem(
    "a file is nested too deeply", fix="Check the files that the command names or writes."
)


class _Program(Commands):
    """The commands of the program. The error of an invalid option shows its value."""

    def packages(self) -> Iterable[str]:
        """The packages with commands: the core's, then those of features."""
        features = (f"{feature.package}.commands" for feature in features_with("commands"))
        return ("sweeper.cli.commands", *features)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError  # plain commands start without it

            if isinstance(error.__cause__, ValidationError):
                value = error.__cause__.errors()[0]["input"]
                error.message = f"{value!r} was given. {error.message}"
            raise


app = typer.Typer(
    name="sweeper",
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 bug, 2 a mistake in command or files, 3 nothing fits, "
    "4 no trial completed, 5 a limit was exceeded, 130 Ctrl-C, 143 terminated.",
)


def _version(show_version: bool) -> None:
    if show_version:
        typer.echo(f"sweeper {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """How should I fine-tune this model on this data with this hardware, and how do I know?"""


def main() -> None:
    """Run the command line and exit with the documented code."""
    # Starting creates many objects and hardly any garbage. With default thresholds, the garbage
    # collector takes 5% of the start and, at exit, 10% of the time of ``sweeper plan``. Frozen
    # objects are not collected.
    gc.set_threshold(200_000, 20, 20)
    atexit.register(gc.freeze)
    # Otherwise pydantic would read the metadata of every package to find plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _open_streams()
    listen(lambda line: print(visible(line), file=sys.stderr, flush=True))
    try:
        _run()
    except SweeperError as error:
        for number, problem in enumerate(error.problems):
            text = visible(shortened(str(problem)))
            # The first problem says that nothing fits; the others are the reasons.
            is_reason = number > 0 and isinstance(error, NothingFits)
            code = problem.code or error.code
            _print_error(indent(text, "  ") if is_reason else f"error[{code}]: {text}")
        sys.exit(error.exit_code)


def _run() -> None:
    """Run the command, and turn errors of the system into errors for the user.

    Raises:
        RunError: Memory ran out, or a file or stream cannot be read or written.
    """
    try:
        try:
            app()
        except SystemExit as exit_request:
            if not isinstance(exit_request.__context__, BrokenPipeError):
                raise
            raise exit_request.__context__ from None  # typer exits with 1
        finally:
            sys.stdout.flush()
    except (MemoryError, RecursionError) as error:
        too_deep = isinstance(error, RecursionError)
        raise RunError([_TOO_DEEP if too_deep else _OUT_OF_MEMORY]) from error
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # Python would try to flush stdout again at exit
            _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            sys.exit(0)  # the reader of stdout ended, as in `| head`
        raise RunError([os_problem(error, "the output")]) from error


def _open_streams() -> None:
    """Open closed standard streams on the null device, and let stdout escape what it cannot encode.

    Otherwise, the next opened file would get the number of a closed stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard(stream: TextIO) -> None:
    """Send a stream to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_error(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # such as a full disk; the exit code still shows the failure
        _discard(sys.stderr)
