"""The program ``sweeper``: its commands, and how errors are shown.

Exit codes: 0 done, 1 a bug, 2 usage or configuration, 3 nothing fits, 4 no trial completed,
5 a gate failed, 130 Ctrl-C, 143 terminated.
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
from sweeper.features.loader import having
from sweeper.visible import shortened, visible

_NO_MEMORY = Problem(
    "the memory of this machine ran out",
    fix="Close other programs, give fewer rows (data.max_rows), or use more memory.",
)
_TOO_DEEP = Problem(
    "a file is nested too deeply", fix="Check the files that the command names or writes."
)


class _Program(Commands):
    """The commands of the program. An error names the value that an option refused."""

    def places(self) -> Iterable[str]:
        """The commands of the core, then those of features."""
        features = (f"{feature.package}.commands" for feature in having("commands"))
        return ("sweeper.cli.commands", *features)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError  # plain commands start without it

            if isinstance(error.__cause__, ValidationError):
                given = error.__cause__.errors()[0]["input"]
                error.message = f"{given!r} was given. {error.message}"
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


def _version(wanted: bool) -> None:
    if wanted:
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
    # A start makes many objects and hardly any garbage: by default, a twentieth of it is spent on
    # collections, and a tenth of a plan on those when Python ends, which frozen objects are left
    # out of. The search for plugins of pydantic reads the metadata of every package.
    gc.set_threshold(200_000, 20, 20)
    atexit.register(gc.freeze)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _open_streams()
    listen(lambda line: print(visible(line), file=sys.stderr, flush=True))
    try:
        _run()
    except SweeperError as error:
        for number, problem in enumerate(error.problems):
            text = visible(shortened(str(problem)))
            part = number > 0 and isinstance(error, NothingFits)  # of the first one's reasons
            code = problem.code or error.code
            _tell(indent(text, "  ") if part else f"error[{code}]: {text}")
        sys.exit(error.exit_code)


def _run() -> None:
    """Run the command. What the system refused becomes an error for the user.

    Raises:
        RunError: Memory ran out, or a file or stream cannot be read or written.
    """
    try:
        try:
            app()
        except SystemExit as ended:
            if not isinstance(ended.__context__, BrokenPipeError):
                raise
            raise ended.__context__ from None  # typer exits with 1
        finally:
            sys.stdout.flush()
    except (MemoryError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        raise RunError([_TOO_DEEP if deep else _NO_MEMORY]) from error
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # it must not be tried again when Python ends
            _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            sys.exit(0)  # the reader went away (say, `| head`)
        raise RunError([os_problem(error, "the output")]) from error


def _open_streams() -> None:
    """Make streams that can be written to: closed ones lead nowhere, and no character fails.

    A closed one would else be the number of the next file that is opened.
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
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _tell(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # a full disk: the exit code still tells
        _discard(sys.stderr)
