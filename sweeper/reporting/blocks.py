"""The parts of a page: sections of blocks, each with its own template.

Templates place these; they compute nothing and test no types. Numbers are words by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from sweeper.findings import words
from sweeper.findings.findings import Limitation
from sweeper.findings.verdict.headline import HeadlineFigure

Item = TypeVar("Item")


class Block:
    """What a section holds; its template has the name of its class."""

    kind: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__name__.lower()


@dataclass(frozen=True)
class Cell:
    """One cell. ``css`` may hold a strategy's style."""

    text: str
    css: str = ""


@dataclass(frozen=True)
class Column(Generic[Item]):
    """One column, and what it shows of an item: its text, or a cell with more than that.

    ``unit`` is part of the header, ``pointer`` of the JSON pointer.
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
        """The column of one field, a dash where it is None.

        Args:
            pointer: The path of the field, ``/failure/kind``: attributes and keys.
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
    """One row; ``trial`` makes it selectable, ``pointer`` is its place in report.json."""

    cells: tuple[Cell, ...]
    trial: int | None = None
    pointer: str = ""


@dataclass(frozen=True)
class Table(Block):
    """A table. ``sortable`` gives every header a button, ``filters`` a line of controls above."""

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
            name: Its id on the page.
            items: JSON pointers and what stands there, as ``placed`` gives them.
            trial: The trial that an item is about.
        """
        rows = []
        for pointer, item in items:
            cells = [column.cell(item) for column in columns]
            shown = tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells)
            rows.append(Row(shown, trial(item), pointer))
        return cls(name, caption, tuple(columns), tuple(rows), **more)


def placed(items: Iterable[Item], at: str = "") -> list[tuple[str, Item]]:
    """Items with their JSON pointers, which are empty for a list that is not in report.json.

    >>> placed(["first", "second"], "/findings/gains")
    [('/findings/gains/0', 'first'), ('/findings/gains/1', 'second')]
    """
    return [(f"{at}/{number}" if at else "", item) for number, item in enumerate(items)]


@dataclass(frozen=True)
class Folded(Block):
    """Tables that a line opens."""

    title: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class LegendEntry:
    """A strategy with its look, or another sign that a chart uses."""

    label: str
    css: str
    glyph: str


@dataclass(frozen=True)
class Drawing:
    """One drawing of a figure. The drawing engine runs when the page is rendered.

    Args:
        description: What it says, for people who do not see it.
        wide: Whether it takes the width of the page.
    """

    spec: str
    title: str
    description: str
    wide: bool = False


@dataclass(frozen=True)
class Figure(Block):
    """A chart: the finding first, then what is drawn, then the same numbers as tables.

    Args:
        options: Further panels, of which the reader chooses one: its name, and the panel.
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
    """A part without numbers, with the reason and the way to get them."""

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
    """Short statements, one a line."""

    items: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Sample:
    """One item: ``title`` says which, ``texts`` are its input, reference and answers."""

    title: str
    texts: tuple[NamedFact, ...]


@dataclass(frozen=True)
class Samples(Block):
    """Items with long texts, folded under ``title``."""

    title: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Code(Block):
    """Something to copy."""

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class NamedFact:
    """A term and its value."""

    term: str
    text: str
    pointer: str = ""
    css: str = ""


@dataclass(frozen=True)
class FactList(Block):
    """Terms with their values."""

    facts: tuple[NamedFact, ...]


@dataclass(frozen=True)
class VerdictCard(Block):
    """The answer: sentence, forest plot, three figures, next step, limits.

    ``lead`` is what the sentence begins with; ``because`` are sentences that decide.
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
    """Limits, each with its numbers and the action that removes it; ``further`` are folded."""

    notes: tuple[Limitation, ...]
    further: tuple[Limitation, ...] = ()


@dataclass(frozen=True)
class Section:
    """One part of the page; with a ``finding`` it is folded under that line."""

    id: str
    title: str
    blocks: Sequence[Block]
    finding: str = ""


@dataclass(frozen=True)
class Page:
    """A whole report. ``no_charts`` says why it has no charts; it is empty where it has.

    ``head`` are facts of the run. ``terms`` are explained where they first occur.
    ``footer`` stands below the page.
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
