"""Output to a terminal, or to a notebook as HTML.

Results go to stdout, progress and warnings to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sweeper.safe_text import visible

# Largest width of a page, in columns.
MAX_WIDTH = 100

ProgressMode = Literal["auto", "plain", "none"]
"""``auto`` redraws on a terminal and prints plain lines elsewhere.

The progress of a run is also redrawn in a notebook cell: see ``views.progress``.
"""
LogFormat = Literal["text", "jsonl"]
Say = Callable[[str], None]
"""Prints a line about a long step or a fallback."""


class _EscapingConsole(Console):
    """A console that shows invisible characters as code points."""

    def render_str(self, text: str, **options: Any) -> Text:
        """The text with rich's markup, and with invisible characters as code points."""
        return super().render_str(visible(text), **options)


def text(content: str) -> Text:
    """A text without markup, and with invisible characters as code points."""
    return Text(visible(content))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table with bold heads, whose long cells wrap."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        grid.add_column(text(head), overflow="fold")
    for row in rows:
        grid.add_row(*map(text, row))
    return grid


Section = tuple[str, Iterable[str]]
"""A name and its paragraphs. A section without paragraphs is not shown."""

# Width of the names with the padding after them.
_NAME_COLUMNS = 12


def sections(parts: Iterable[Section]) -> Table:
    """A page of sections: names on the left, paragraphs on the right."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=_NAME_COLUMNS - 2, style="bold")
    grid.add_column(overflow="fold")
    for name, paragraphs in parts:
        for number, paragraph in enumerate(filter(None, paragraphs)):
            grid.add_row("" if number else name, text(paragraph))
    return grid


def lines_of(page: RenderableType, console: Console) -> list[str]:
    """The lines of a page, wrapped at the console's width or at ``MAX_WIDTH``."""
    with console.capture() as output:
        console.print(page, width=min(console.width, MAX_WIDTH), soft_wrap=False)
    return [line.rstrip() for line in output.get().splitlines()]


def show_page(page: RenderableType) -> None:
    """Print a page to stdout."""
    console = out()
    for line in lines_of(page, console):
        print(line, file=console.file)


def out() -> Console:
    """The console for results. Coloured on a terminal or if FORCE_COLOR is set."""
    return _console(stderr=False)


def err() -> Console:
    """The console for progress, logs and warnings."""
    return _console(stderr=True)


def show_line(text: str) -> None:
    """Print a line to stdout without markup or wrapping."""
    out().print(text, markup=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line to stderr without markup or wrapping."""
    err().print(text, markup=False, soft_wrap=True)


def say_nothing(_text: str) -> None:
    """Print nothing: a ``Say`` for --quiet."""


def can_encode_bars(encoding: str | None) -> bool:
    """Whether a stream of this encoding can show bars and sparklines."""
    try:
        "─●█".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def can_redraw(mode: str = "auto") -> bool:
    """Whether stderr is to be redrawn: only in mode ``auto`` on a terminal that is not dumb."""
    if mode != "auto":
        return False
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    is_terminal = stream.isatty()
    has_colour = not is_plain and (is_terminal or bool(os.environ.get("FORCE_COLOR")))
    return _EscapingConsole(
        stderr=stderr,
        highlight=False,
        no_color=not has_colour,
        force_terminal=has_colour or None,
        # Otherwise rich would redraw in a pipe if FORCE_COLOR is set.
        force_interactive=is_terminal and not is_plain,
        width=None if is_terminal else MAX_WIDTH,
        soft_wrap=not is_terminal,
    )


def html_of(page: RenderableType) -> str:
    """A page as HTML, with escaped texts."""
    console = Console(file=StringIO(), record=True, width=MAX_WIDTH, force_jupyter=False)
    console.print(page)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
