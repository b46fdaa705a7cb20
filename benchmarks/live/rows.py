"""The rows that all contenders train on: a small part of a data set with official splits.

Knows files and texts; knows nothing of training.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from benchmarks import json_lines
from benchmarks.json_lines import Row

SPLITS = ("train", "validation", "test")


def cut(source: Path, to: Path, counts: dict[str, int]) -> None:
    """Write a part of each split, as evenly over the classes as the rows allow.

    A text that is in the test part already is not validated on, and one that is in either is not
    trained on.

    Args:
        source: Folder with ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``, rows of
            ``text`` and ``label``.
        to: Where the parts go, under the same names.
        counts: Rows of each split.
    """
    to.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for split in reversed(SPLITS):
        rows = _even(json_lines.read(source / f"{split}.jsonl"), counts[split], taken)
        kept = ({"text": row["text"], "label": row["label"]} for row in rows)
        json_lines.write(to / f"{split}.jsonl", kept)


def _even(rows: list[Row], count: int, taken: set[str]) -> list[Row]:
    """The first rows of each class in turn; ``taken`` is added to."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        text = " ".join(row["text"].lower().split())
        if text not in taken:
            taken.add(text)
            by_label[row["label"]].append(row)
    rounds = max(len(found) for found in by_label.values())
    in_turn = [
        by_label[label][place]
        for place in range(rounds)
        for label in sorted(by_label)
        if place < len(by_label[label])
    ]
    return in_turn[:count]
