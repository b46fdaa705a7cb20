"""What a user should hear about a data set that can be used: counts, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sweeper.data.checks import spelling_variants
from sweeper.data.examples import Dataset, Split
from sweeper.data.formats.text import is_templated
from sweeper.data.problems import listing

UNEVEN = 10
"""Ratio of the most to the least frequent class from which on accuracy hides the rare one: a model
that never names the rare class still scores above 90% between the two."""

FEW_HELD_OUT = 100
"""Below this many validation or test rows, the 95% interval of an accuracy of 90% is wider than
plus or minus 6 points (binomial)."""


def warnings(dataset: Dataset, skipped: Mapping[Split, Mapping[str, list[int]]]) -> tuple[str, ...]:
    """Sentences about ``dataset``; ``skipped`` has reason to lines for each split."""
    return (
        *_left_out(dataset, skipped),
        *_repeated(dataset),
        *_templated_twice(dataset),
        *_classes(dataset),
        *_few(dataset),
    )


def _left_out(dataset: Dataset, skipped: Mapping[Split, Mapping[str, list[int]]]) -> list[str]:
    said = []
    if dataset.empties:
        said.append(f"{_rows(dataset.empties)} without text or answer left out")
    for split, reasons in skipped.items():
        for reason, lines in reasons.items():
            where = listing([str(line) for line in lines], 3)
            said.append(f"{_rows(len(lines))} of {split} left out: {reason} (line {where})")
    if dataset.encoding_problems:
        said.append(
            f"{_rows(dataset.encoding_problems)} with lost or garbled characters "
            "(written in one encoding, read in another)"
        )
    return said


def _repeated(dataset: Dataset) -> list[str]:
    said = []
    if dataset.duplicates:
        said.append(f"{_rows(dataset.duplicates)} repeat another row exactly; they stay together")
    if dataset.conflicting:
        said.append(f"{_rows(dataset.conflicting)} have an input that occurs with another answer")
    if dataset.leaked:
        said.append(
            f"{_rows(dataset.leaked)} of the official validation or test split are in train, too: "
            "scores will look better than they are"
        )
    return said


def _classes(dataset: Dataset) -> list[str]:
    if not dataset.labels:
        return []
    said = []
    counts = Counter(example.label for example in dataset.splits["train"])
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many >= UNEVEN * few:
        said.append(f"uneven classes: {many} rows of {most!r}, {few} of {least!r} in train")
    if all(label.lstrip("-").isdigit() for label in dataset.labels):
        said.append("labels are numbers; a column label_text could give their names")
    if variants := spelling_variants(dataset.labels):
        said.append(f"labels that may be the same: {listing(variants, 3)}")
    return said


def _templated_twice(dataset: Dataset) -> list[str]:
    """Chat markers inside the turns of conversations, which would get a template on top."""
    marked = sum(
        any(is_templated(message.content) for message in example.messages)
        for example in dataset.splits["train"]
    )
    if not marked:
        return []
    return [
        f"{_rows(marked)} of train hold chat markers such as [INST] inside their turns: they may "
        "have been templated before"
    ]


def _few(dataset: Dataset) -> list[str]:
    return [
        f"only {_rows(len(examples))} in {split}: differences will be hard to tell from noise"
        for split, examples in dataset.splits.items()
        if split != "train" and len(examples) < FEW_HELD_OUT
    ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
