"""Labels that some rows write otherwise than train, or that one row alone has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sweeper.data.examples import Example, Split
from sweeper.data.problems import listing
from sweeper.errors import DataError

Parts = dict[Split, list[Example]]


# Not the sign of a number: -1 and 1 are two classes.
_JOINING = re.compile(r"(?<=[^\W\d])[-_]+(?=\w)|(?<=\w)[-_]+(?=[^\W\d])|(?<=\w)_+(?=\w)")


def folded(label: str) -> str:
    """The label without what people write in different ways: case, white space, hyphens.

    >>> folded("Card Arrival"), folded("card_arrival")
    ('card arrival', 'card arrival')
    """
    return " ".join(_JOINING.sub(" ", label.casefold()).split())


def spellings(train: Iterable[str | None], other: Iterable[str | None]) -> dict[str, str]:
    """From labels that only ``other`` has to the spelling of train, where it has exactly one.

    >>> spellings(["Yes", "no"], ["yes", "no", "maybe"])
    {'yes': 'Yes'}
    """
    known = {label for label in train if label}
    by_fold: dict[str, list[str]] = {}
    for label in sorted(known):
        by_fold.setdefault(folded(label), []).append(label)
    return {
        label: alike[0]
        for label in sorted({label for label in other if label} - known)
        if len(alike := by_fold.get(folded(label), [])) == 1
    }


def reconciled(parts: Mapping[Split, list[Example]], name: str) -> tuple[Parts, tuple[str, ...]]:
    """The rows that can be trained on and scored, and in words what was done to the others.

    Validation and test take train's spelling of a label. Rows whose label no other row has are left
    out, and those of validation and test with a label that train does not have.

    Raises:
        DataError: Most rows of a split have labels that train does not have.
    """
    said: list[str] = []
    kept: Parts = {split: list(examples) for split, examples in parts.items()}
    for split in kept.keys() - {"train"}:
        mapping = spellings((e.label for e in kept["train"]), (e.label for e in kept[split]))
        if not mapping:
            continue
        renamed = [replace(e, label=mapping.get(e.label or "", e.label)) for e in kept[split]]
        changed = sum(example.label in mapping for example in kept[split])
        kept[split] = renamed
        pairs = listing([f"{old!r} is {new!r}" for old, new in mapping.items()], 4)
        said.append(
            f"{changed:,} rows of {split} spell labels otherwise than train and take its spelling: "
            f"{pairs}. {remedy(name, 'label-variants')}"
        )
    counts = Counter(example.label for examples in kept.values() for example in examples)
    lonely = {label for label, rows in counts.items() if rows == 1}
    if lonely:
        said.append(
            f"{len(lonely)} of {len(counts)} labels occur in one row only, which is left out: "
            f"{_lines(kept, lonely)}. One row cannot both be learnt from and be checked against: "
            f"add rows, or merge labels. {remedy(name, 'rare-labels')}"
        )
    kept = {split: [e for e in rows if e.label not in lonely] for split, rows in kept.items()}
    return _without_unseen(kept, said, name), tuple(said)


LabelChanges = dict[tuple[Split, str], str | None]
"""From a label of a split to its new spelling, or None where its rows are left out."""


def label_changes(
    counts: Mapping[Split, Counter[str]], name: str
) -> tuple[LabelChanges, tuple[str, ...]]:
    """What ``reconciled`` does to rows, by the numbers of rows of each label.

    Raises:
        DataError: Most rows of a split have labels that train does not have.
    """
    changes: LabelChanges = {}
    for split in counts.keys() - {"train"}:
        found = spellings(counts["train"], counts[split])
        changes |= {(split, old): new for old, new in found.items()}
    new = {
        split: {label: changes.get((split, label)) or label for label in one}
        for split, one in counts.items()
    }
    rows: Counter[str] = Counter()
    for split, one in counts.items():
        rows.update({new[split][label]: many for label, many in one.items()})
    known = {new["train"][label] for label in counts["train"] if rows[label] > 1}
    renamed = sum(counts[split][label] for split, label in changes)
    left = {(s, old) for s, labels in new.items() for old in labels if labels[old] not in known}
    changes |= dict.fromkeys(left)
    lost = {s: sum(counts[s][old] for split, old in left if split == s) for s in counts}
    for split, many in lost.items():
        if many > counts[split].total() / 2:
            raise DataError(
                f"{many} of {counts[split].total()} rows of {split} have labels that train does "
                "not have",
                why="A class that is never shown cannot be learnt.",
                fix="Give all splits the same labels: `sweeper data check` shows the mapping, "
                "where there is one.",
                where=name,
            )
    said = []
    if renamed:
        said.append(
            f"{renamed:,} rows spell labels otherwise than train and take its spelling. "
            f"{remedy(name, 'label-variants')}"
        )
    if left:
        labels = listing(sorted(repr(label) for _, label in left), 4)
        said.append(
            f"{sum(lost.values()):,} rows are left out, since no other row or no row of train has "
            f"their label: {labels}. {remedy(name, 'rare-labels')}"
        )
    return changes, tuple(said)


def remedy(name: str, kind: str) -> str:
    """The sentence that names the command which mends a data set."""
    return f"To mend the file: sweeper data fix {name} --remedy {kind} -o NEW"


def _without_unseen(parts: Parts, said: list[str], name: str) -> Parts:
    known = {example.label for example in parts["train"]}
    kept: Parts = {}
    for split, examples in parts.items():
        kept[split] = [example for example in examples if example.label in known]
        lost = len(examples) - len(kept[split])
        if not lost:
            continue
        unseen = {example.label for example in examples} - known
        labels = listing([repr(label) for label in sorted(map(str, unseen))])
        if lost > len(examples) / 2:
            raise DataError(
                f"{lost} of {len(examples)} rows of {split} have labels that train does not have: "
                f"{labels}",
                why="A class that is never shown cannot be learnt. Train has "
                f"{listing([repr(label) for label in sorted(map(str, known))])}.",
                fix="Give all splits the same labels: `sweeper data check` shows the mapping, "
                "where there is one.",
                where=name,
            )
        said.append(
            f"{lost:,} of {len(examples):,} rows of {split} are left out: train does not have "
            f"their labels: {_lines({split: examples}, unseen)}. Scores do not count them: "
            "add such rows to train"
        )
    return kept


def _lines(parts: Mapping[Split, list[Example]], labels: set[str | None]) -> str:
    found = [
        f"{example.label!r} ({split}, line {example.line})"
        for split, examples in parts.items()
        for example in examples
        if example.label in labels
    ]
    return listing(found, 3)
