"""The program ``sweeper``: its commands, and how errors are shown.

Exit codes: 0 done, 1 a bug, 2 usage or configuration, 3 nothing fits, 4 no trial completed,
5 a gate failed, 130 Ctrl-C, 143 terminated.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterable
from textwrap import indent
from typing import Annotated, Any

import typer

from sweeper import __version__
from sweeper.cli.discovery import Commands
from sweeper.errors import NothingFits, RunError, SweeperError
from sweeper.features.loader import having
from sweeper.progress import listen
from sweeper.visible import shortened, visible

_NO_MEMORY = (
    "the memory of this machine ran out\n"
    "  Close other programs, give fewer rows (data.max_rows), or use a machine with more memory."
)
_TOO_DEEP = "a file is nested too deeply\n  Check the files that the command names or writes."


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
    listen(lambda line: print(visible(line), file=sys.stderr, flush=True))
    try:
        app()
    except SweeperError as error:
        for number, problem in enumerate(error.problems):
            text = visible(shortened(str(problem)))
            part = number > 0 and isinstance(error, NothingFits)  # of the first one's reasons
            print(indent(text, "  ") if part else f"error: {text}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (MemoryError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        print(f"error: {_TOO_DEEP if deep else _NO_MEMORY}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away (say, `| head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise  # of no file that a user could look after
        named = error.filename2 or error.filename
        said = (
            f"{named}: {error.strerror}\n  Check the permissions of this file and the disk's room."
        )
        print(f"error: {visible(shortened(said))}", file=sys.stderr)
        sys.exit(RunError.exit_code)


if __name__ == "__main__":
    main()
