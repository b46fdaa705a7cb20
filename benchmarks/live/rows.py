"""The rows that all contenders train on: a small part of a data set with official splits.

Knows files and texts; knows nothing of training.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

Row = dict[str, Any]
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
        rows = _even(read(source / f"{split}.jsonl"), counts[split], taken)
        lines = (json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows)
        (to / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def read(path: Path) -> list[Row]:
    """The rows of one file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
