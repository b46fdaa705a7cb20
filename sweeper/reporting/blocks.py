"""The parts of a page: sections of blocks, each with its own template, and styles of strategies.

Numbers are text already: templates only place them, without arithmetic or type tests. A strategy
has a colour, a shape and a dash, so that colour alone never distinguishes it. The strategy's file
chooses one of six colours, which differ under three types of colour blindness, or a neutral one.
The stylesheet has the values of the colours for both themes, and the symbol of every shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from sweeper.findings import words
from sweeper.findings.findings import Limitation
from sweeper.findings.verdict.headline import HeadlineFigure
from sweeper.traits.traits import UNKNOWN, Shape, StrategyOnModel

Item = TypeVar("Item")


class Block:
    """A part of a section. ``kind`` names its template."""

    kind: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__name__.lower()


@dataclass(frozen=True)
class Cell:
    """A table cell. ``css`` are CSS classes, such as a strategy's."""

    text: str
    css: str = ""


@dataclass(frozen=True)
class Column(Generic[Item]):
    """A table column.

    Args:
        cell: Function from an item to its text or cell.
        pointer: Path of the field in the item, such as ``/failure/kind``. The pointer of a row and
            this path together are the JSON pointer of a cell's value in report.json.
        unit: Shown in the header.
    """

    number: ClassVar[bool] = False

    title: str
    cell: Callable[[Item], Cell | str]
    pointer: str = ""
    unit: str = ""

    @classmethod
    def of(
        cls, title: str, pointer: str, text: Callable[[Any], Cell | str] = str, unit: str = ""
    ) -> Column[Any]:
        """The column of a field; a dash where it is None.

        Args:
            pointer: Path of the field as attributes and keys, such as ``/failure/kind``.
            text: Function from the field's value to its text or cell.
        """

        def cell(item: Any) -> Cell | str:
            for name in pointer.split("/")[1:]:
                if item is not None:
                    item = item.get(name) if isinstance(item, Mapping) else getattr(item, name)
            return words.DASH if item is None else text(item)

        return cls(title, cell, pointer, unit)


class Number(Column[Item]):
    """A column of numbers."""

    number: ClassVar[bool] = True


@dataclass(frozen=True)
class Row:
    """A row of a table.

    With ``trial``, it can be selected. ``pointer`` is the JSON pointer of its item in report.json.
    """

    cells: tuple[Cell, ...]
    trial: int | None = None
    pointer: str = ""


@dataclass(frozen=True)
class Table(Block):
    """A table. ``sortable`` makes headers buttons; ``strategies`` and ``states`` add filters."""

    id: str
    caption: str
    columns: tuple[Column[Any], ...]
    rows: tuple[Row, ...]
    sortable: bool = False
    strategies: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        caption: str,
        columns: Sequence[Column[Item]],
        items: Iterable[tuple[str, Item]],
        trial: Callable[[Item], int | None] = lambda _: None,
        **more: Any,
    ) -> Table:
        """The table with a row for each item.

        Args:
            name: The table's id on the page.
            items: Items with their JSON pointers in report.json (see ``with_json_pointers``).
            trial: Function from an item to its trial number, or None.
        """
        rows = []
        for pointer, item in items:
            texts = [column.cell(item) for column in columns]
            cells = tuple(Cell(text) if isinstance(text, str) else text for text in texts)
            rows.append(Row(cells, trial(item), pointer))
        return cls(name, caption, tuple(columns), tuple(rows), **more)


def with_json_pointers(items: Iterable[Item], parent: str = "") -> list[tuple[str, Item]]:
    """Items with their JSON pointers in report.json; the pointers are empty without ``parent``.

    >>> with_json_pointers(["first", "second"], "/findings/gains")
    [('/findings/gains/0', 'first'), ('/findings/gains/1', 'second')]
    """
    return [(f"{parent}/{number}" if parent else "", item) for number, item in enumerate(items)]


@dataclass(frozen=True)
class Folded(Block):
    """Tables that are folded under a title."""

    title: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class LegendEntry:
    """A symbol of a chart with its meaning. ``css`` are CSS classes, such as a strategy's."""

    label: str
    css: str
    glyph: str


@dataclass(frozen=True)
class Drawing:
    """A chart, in one panel of a figure. It is drawn when the page is rendered.

    Args:
        spec: The Vega-Lite spec as JSON.
        description: A text alternative to the chart.
        wide: Whether it takes the whole width of the page.
    """

    spec: str
    title: str
    description: str
    wide: bool = False


def existing_panels(*panels: Drawing | None) -> tuple[Drawing, ...]:
    """The panels of a figure that exist."""
    return tuple(panel for panel in panels if panel is not None)


@dataclass(frozen=True)
class Figure(Block):
    """A figure: the finding, the charts, then the same numbers as tables.

    Args:
        options: Names and charts of alternative panels, of which the reader chooses one.
    """

    id: str
    finding: str
    note: str
    panels: tuple[Drawing, ...]
    legend: tuple[LegendEntry, ...] = ()
    tables: tuple[Table, ...] = ()
    options: tuple[tuple[str, Drawing], ...] = ()


@dataclass(frozen=True)
class Empty(Block):
    """A part without numbers: ``reason`` is an id for ``text``, ``command`` would compute them."""

    reason: str
    text: str
    command: str = ""
    title: str = ""


@dataclass(frozen=True)
class Text(Block):
    """A few sentences."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Bullets(Block):
    """A list of short statements."""

    items: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Sample:
    """A test item; ``texts`` are its input, reference and answers."""

    title: str
    texts: tuple[ListedFact, ...]


@dataclass(frozen=True)
class Samples(Block):
    """Items with long texts, folded under ``title``."""

    title: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Code(Block):
    """A text to copy, such as a command."""

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class ListedFact:
    """A term and its value."""

    term: str
    text: str
    pointer: str = ""
    css: str = ""


@dataclass(frozen=True)
class FactList(Block):
    """Terms with their values."""

    facts: tuple[ListedFact, ...]


@dataclass(frozen=True)
class VerdictCard(Block):
    """The verdict: sentence, forest plot, headline figures, next step and limits.

    Args:
        lead: The verdict in a few words, before ``sentence``.
        because: Further sentences below ``sentence``.
        css: CSS classes of the recommended trial's strategy.
        trial: Number of the recommended trial.
    """

    lead: str
    sentence: str
    because: tuple[str, ...]
    forest: Figure | None
    figures: tuple[HeadlineFigure, ...] = ()
    configuration: str = ""
    step: str = ""
    command: str = ""
    limits: str = ""
    css: str = ""
    trial: int | None = None


@dataclass(frozen=True)
class Notes(Block):
    """Limits of the verdict with their remedies; ``further`` ones are folded."""

    notes: tuple[Limitation, ...]
    further: tuple[Limitation, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page; with a ``finding`` it is folded under that line."""

    id: str
    title: str
    blocks: Sequence[Block]
    finding: str = ""


@dataclass(frozen=True)
class Page:
    """A whole report. ``no_charts`` says why it has no charts; it is empty if it has some.

    ``head`` are facts of the run. ``terms`` are explained at their first occurrence. ``banner`` is
    a notice for a run that is not complete. ``footer`` is a text below the page.
    """

    title: str
    name: str
    verdict: str
    head: tuple[str, ...]
    sections: tuple[Section, ...]
    sweeper_version: str
    terms: Mapping[str, str] = field(default_factory=dict)
    banner: str = ""
    no_charts: str = ""
    footer: str = ""


# Shapes of strategies and their symbols in text, which the stylesheet also has. "stroke" is for a
# strategy that is not installed: a line in charts, a hollow symbol in text.
GLYPHS: dict[Shape, str] = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "triangle-left": "◀",
    "triangle-right": "▶",
    "cross": "✚",
    "stroke": "◇",
}


@dataclass(frozen=True)
class StrategyStyle:
    """A strategy's style. ``shape`` and ``dash`` are Vega's; ``glyph`` is used in text."""

    css: str
    color: str
    shape: str
    glyph: str
    dash: tuple[int, ...] = (1, 0)


def style_of(strategy: StrategyOnModel) -> StrategyStyle:
    """The style of a strategy, the same in the whole report and on every base model."""
    traits = strategy.traits
    mark = traits.mark if traits else UNKNOWN
    return StrategyStyle(
        css=f"s-{mark.shape} c-{mark.color}",
        color=f"var(--mark-{mark.color})",
        shape=mark.shape,
        glyph=GLYPHS[mark.shape],
        dash=mark.dash,
    )


def strategy_cell(strategy: StrategyOnModel) -> Cell:
    """A strategy's name with its symbol."""
    return Cell(words.short(strategy), css=style_of(strategy).css)
