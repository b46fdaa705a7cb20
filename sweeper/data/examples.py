"""The types of an example, of a data set in three splits, and of its faults."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from sweeper.artifact import Record


class DataFault(Record):
    """Rows with one kind of fault, and what removes it."""

    kind: str
    rows: int
    share: float = Field(
        0.0, description="share of the test items that have it, those that were left out included"
    )
    text: str
    action: str
    where: str = Field("", description="file and line of the first row")

    @property
    def sentence(self) -> str:
        """The text and the action."""
        return f"{self.text}. {self.action}"


def by_kind(faults: Iterable[DataFault]) -> dict[str, Sequence[DataFault]]:
    """The faults of each kind, in the order in which the kinds first occur."""
    groups: dict[str, list[DataFault]] = {}
    for fault in faults:
        groups.setdefault(fault.kind, []).append(fault)
    return dict(groups)


Split = Literal["train", "validation", "test"]
Origin = Literal["official", "hash"]
"""Whether a split has files of its own, or sweeper took it from train (by a hash or a column)."""

MessageRole = Literal["system", "user", "assistant", "tool"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_NAMES_BY_SPLIT: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
SPLIT_NAMES = {name: split for split, names in _NAMES_BY_SPLIT.items() for name in names}
"""From the names that files and data sets give to splits (in lower case) to splits."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Args:
        more: Tool calls, available tools, or name and call id of a tool, as JSON; may be empty.
        trained: Whether an assistant's turn is in the loss (``weight`` of OpenAI).
    """

    role: MessageRole
    content: str
    more: str = ""
    trained: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set, as all tasks read it.

    Args:
        key: Hash of the normalised input (hex). Rows with the same input have the same key,
            whatever their answers, so that splitting by key keeps them together.
        line: Number of its line, from 1, or of its row if the file has no lines.
        text: Input of a classification, or a whole plain text.
        messages: The conversation; the last message is the assistant's answer.
        templated: Whether ``text`` already holds chat markers and must not be templated again.
        references: All accepted answers, where the source gives several.
        tests: Programs that run without an error after a correct answer (code tasks).
        group: Value of ``data.split_column``; empty without one.
        source: Name under which rows and tokens are counted: the title of the source if there are
            several, or a feature's name for rows that it adds to train; otherwise empty.
        made_from: Keys of the rows that it was made from, if they are known.
    """

    key: str
    line: int
    text: str = ""
    label: str | None = None
    messages: tuple[Message, ...] = ()
    templated: bool = False
    references: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    group: str = ""
    source: str = ""
    made_from: tuple[str, ...] = ()

    @property
    def input(self) -> str:
        """The input of the model: a text, or the turns before the answer."""
        return self.text or "\n".join(message.content for message in self.messages[:-1])

    @property
    def answer(self) -> str:
        """The right answer: class name or last message; empty for plain text."""
        if self.messages:
            return self.messages[-1].content or self.messages[-1].more
        return self.label or ""

    @property
    def accepted(self) -> tuple[str, ...]:
        """All answers that count as correct."""
        return self.references or (self.answer,)

    def content_hash(self) -> str:
        """Hash (hex) of all that training sees of this row, so that exact duplicates share it."""
        parts = [self.text, self.label or ""]
        for message in self.messages:
            parts += [message.role, message.content, *filter(None, (message.more,))]
            parts += [] if message.trained else ["untrained"]
        return digest("\x1f".join(parts))


@dataclass(frozen=True)
class Dataset:
    """Examples in three splits, none of them empty, each in the order of its keys.

    Since keys are hashes, the first N items of a split are a fixed random subset of it.

    Args:
        evidence: Sentences on how format and columns were recognised.
        columns: From a role to its column.
        origins: The origin of each split.
        labels: Class names, sorted; empty if the task has none.
        fingerprint: SHA-256 over the content of all rows in split order, further ones included.
        counts: Rows by kind of fault: ``empty``, ``form`` and ``unreadable`` were left out;
            ``duplicates`` repeat an earlier row of their split exactly; ``leakage`` are validation
            and test rows whose input is also in train; ``conflicts`` have an input that occurs with
            another answer, too; ``garbled`` have lost or garbled characters.
        faults: These faults and those of labels, with actions.
        warnings: Sentences on faults, and on what to check about how the files were read.
        weights: Sampling weights of sources by title; empty if every row is seen equally often.
        further_rows: Rows that features add to train, each with a ``source``. The parameters of a
            trial choose among them; nothing is scored on them.
    """

    path: str
    format: str
    evidence: tuple[str, ...]
    columns: dict[str, str]
    splits: dict[Split, Sequence[Example]]
    origins: dict[Split, Origin]
    labels: tuple[str, ...]
    fingerprint: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: tuple[DataFault, ...] = ()
    warnings: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    further_rows: tuple[Example, ...] = ()

    @property
    def rows(self) -> int:
        return sum(len(examples) for examples in self.splits.values())

    @property
    def templated(self) -> bool:
        return any(example.templated for example in self.splits["train"])


_PART_CHARACTERS = 300
"""At most this many characters that are not ASCII are normalised together: the time grows with the
square of the number of combining marks in a row."""

_LONG_RUN = re.compile(r"[^\x00-\x7f]{4}")
"""A sign of a long run of characters that are not ASCII, in a sample of a text's characters."""

_PART = re.compile(
    rf"[\x00-\x7f]*[^\x00-\x7f]{{0,{_PART_CHARACTERS}}}[\u0300-\u036f\u1161-\u11ff\u3099\u309a\uff9e\uff9f]{{0,30}}"
)
"""A part ends in front of ASCII, or behind a letter with all of its usual combining marks."""


def normalised(text: str) -> str:
    """The text for comparison, without differences in case, width and white space.

    >>> normalised("  Where IS\\n my card? ")
    'where is my card?'
    """
    if not text.isascii():
        parts = _PART.findall(text) if _LONG_RUN.search(text[::_PART_CHARACTERS]) else (text,)
        text = "".join(unicodedata.normalize("NFKC", part) for part in parts)
    return " ".join(text.casefold().split())


def digest(text: str) -> str:
    """BLAKE2b hash of 128 bits (hex): by chance, no two texts of a data set have the same one."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def input_key(*parts: str) -> str:
    """The key of an input that consists of these texts."""
    return digest("\x1f".join(normalised(part) for part in parts))
