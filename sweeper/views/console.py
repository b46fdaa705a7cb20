"""The two streams: results go to stdout, progress and warnings to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sweeper.visible import visible

# Columns of a page, where there are so many.
WIDTH = 100

ProgressMode = Literal["auto", "plain", "none"]
"""``auto`` redraws a terminal or the cell of a notebook, and prints plain lines elsewhere."""
LogFormat = Literal["text", "jsonl"]
Tell = Callable[[str], None]
"""Called with a line for the user about a long step or a fallback."""


class _Visible(Console):
    """A console that shows control characters in texts of others instead of sending them."""

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as rich renders it, with invisible characters as code points."""
        return super().render_str(visible(text), **options)


def text(content: str) -> Text:
    """A text of others: no markup, and invisible characters as code points."""
    return Text(visible(content))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose cells wrap where there is no room."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(text(head), overflow="fold")
    for row in rows:
        made.add_row(*map(text, row))
    return made


Section = tuple[str, Iterable[str]]
"""Paragraphs under one name. A section without paragraphs is not shown."""

_NAMES = 12


def sections(parts: Iterable[Section]) -> Table:
    """Paragraphs beside the names of their sections."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=_NAMES - 2, style="bold")
    grid.add_column(overflow="fold")
    for name, paragraphs in parts:
        for number, paragraph in enumerate(filter(None, paragraphs)):
            grid.add_row("" if number else name, text(paragraph))
    return grid


def show_page(page: RenderableType) -> None:
    """Print a page to stdout, wrapped at the width of the terminal, but not wider than usual."""
    console = out()
    with console.capture() as shown:
        console.print(page, width=min(console.width, WIDTH), soft_wrap=False)
    for line in shown.get().splitlines():
        print(line.rstrip(), file=console.file)


def out() -> Console:
    """The console for results. No colour unless the stream is a terminal or FORCE_COLOR asks."""
    return _console(stderr=False)


def err() -> Console:
    """The console for progress, logs and warnings."""
    return _console(stderr=True)


def show_line(text: str) -> None:
    """Print a line to stdout, as it is."""
    out().print(text, markup=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line to stderr, as it is."""
    err().print(text, markup=False, soft_wrap=True)


def say_nothing(_text: str) -> None:
    """Print nothing."""


def draws(encoding: str | None) -> bool:
    """Whether a stream of this encoding can show bars and sparklines."""
    try:
        "─●█".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def is_live(mode: str = "auto") -> bool:
    """Whether stderr may be redrawn: only on a real terminal that is not dumb."""
    if mode != "auto":
        return False
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    terminal = stream.isatty()
    colour = not plain and (terminal or bool(os.environ.get("FORCE_COLOR")))
    return _Visible(
        stderr=stderr,
        highlight=False,
        no_color=not colour,
        force_terminal=colour or None,
        # FORCE_COLOR must not turn on redrawing in a pipe, which is what rich would do.
        force_interactive=terminal and not plain,
        width=None if terminal else 100,
        soft_wrap=not terminal,
    )
