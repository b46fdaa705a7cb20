"""Asks a model for new rows, and adds or rejects each, with the reason."""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from sweeper.data.examples import Dataset, Example, Split
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.similar import duplicates_across_splits, duplicates_in_split
from sweeper.data.table import Fields
from sweeper.data.write_rows import ListedChange
from sweeper.features.augmentation._clients import Replies, Reply
from sweeper.features.augmentation._methods import (
    Method,
    ModelRequest,
    NoReply,
    RowRequest,
    subject,
)
from sweeper.features.augmentation.facts import MADE_FROM, METHOD
from sweeper.features.augmentation.rows import usable
from sweeper.packages import install_command, needed_for


class ModelClient(Protocol):
    """A model that answers requests."""

    async def ask(self, request: ModelRequest) -> Reply: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Augmented:
    """The outcome of all row requests.

    Args:
        rows: The added rows, as a file holds them.
        changes: One for each row request: added, rejected or failed.
        tokens_in: Prompt tokens of new requests.
        tokens_out: Tokens of their replies.
    """

    rows: tuple[Fields, ...]
    changes: tuple[ListedChange, ...]
    tokens_in: int
    tokens_out: int


def answered_and_missing(
    method: Method, row_requests: Sequence[RowRequest], replies: Replies
) -> tuple[int, list[ModelRequest]]:
    """The number of row requests with a stored reply, and the model requests for the others.

    Only the first model request for a row counts; some methods need further ones.
    """
    first_requests = [method.first_request(row_request) for row_request in row_requests]
    missing = [request for request in first_requests if replies.get(request) is None]
    return len(first_requests) - len(missing), missing


async def augment(
    dataset: Dataset,
    method: Method,
    row_requests: Sequence[RowRequest],
    client: ModelClient,
    replies: Replies,
    report: Callable[[str, int, int], None],
) -> Augmented:
    """Make a new row for each row request, and add those that may be trained on.

    ``client`` answers what ``replies`` does not hold. ``report`` gets a description, and the
    numbers of finished and of all row requests.

    Raises:
        UsageError: The model does not answer. Earlier replies are kept.
    """
    new_replies: list[Reply] = []
    done = 0

    async def ask(request: ModelRequest) -> str:
        reply = replies.get(request)
        if reply is None:
            reply = await client.ask(request)
            replies.keep(request, reply)
            new_replies.append(reply)
        return reply.text

    async def row_or_failure(number: int, row_request: RowRequest) -> Example | str:
        nonlocal done
        try:
            # Two requests may give equal rows; the number keeps them distinct as dictionary keys.
            return replace(await method.make(row_request, ask), line=number)
        except NoReply as why:
            return str(why)
        finally:
            done += 1
            report(f"asking for {method.name} rows", done, len(row_requests))

    try:
        outcomes = await asyncio.gather(
            *(row_or_failure(*numbered) for numbered in enumerate(row_requests))
        )
    finally:
        await client.close()
    pairs = list(zip(row_requests, outcomes, strict=True))
    source_rows = {row: request.source_row for request, row in pairs if isinstance(row, Example)}
    reasons = rejection_reasons(source_rows, dataset, method)
    changes = []
    for row_request, outcome in pairs:
        after: Mapping[str, object] = {}
        if isinstance(outcome, str):
            action, why = "failed", outcome
        else:
            why, after = reasons.get(outcome, ""), fields_of(outcome, method.name)
            action = "rejected" if why else "added"
        line = row_request.source_row.line
        changes.append(
            ListedChange(dataset.path, line, method.name, action, why, before={}, after=after)
        )
    return Augmented(
        tuple(change.after for change in changes if change.action == "added"),
        tuple(changes),
        sum(reply.tokens_in for reply in new_replies),
        sum(reply.tokens_out for reply in new_replies),
    )


def fields_of(row: Example, method: str) -> Mapping[str, object]:
    """The fields of a new row in a file, with its source rows and method."""
    marks = {MADE_FROM: " ".join(row.made_from), METHOD: method}
    if row.messages:
        turns = [
            {"role": m.role, "content": m.content, **({} if m.trained else {"weight": 0})}
            for m in row.messages
        ]
        return {"messages": turns, **marks}
    label = {} if row.label is None else {"label": row.label}
    return {"text": row.text, **label, **marks}


_NUMBER = re.compile(r"\d+")


def rejection_reasons(
    source_rows: Mapping[Example, Example], dataset: Dataset, method: Method
) -> dict[Example, str]:
    """The reason for each new row that must not be trained on.

    ``source_rows`` maps each new row to the train row that it was made from.
    """
    train = dataset.splits["train"]
    max_length = max(len(subject(row)) for row in train)
    problems = {
        row: _text_problem(row, source, max_length, method) for row, source in source_rows.items()
    }
    reasons = {row: why for row, why in problems.items() if why}
    _, unusable = usable(_remaining_rows(source_rows, reasons), dataset)
    reasons |= unusable
    reasons |= _similarity_reasons(_remaining_rows(source_rows, reasons), dataset)
    if dataset.labels:
        labels = label_drifts(train, _remaining_rows(source_rows, reasons))
        reasons |= {
            row: f"its text seems to belong to the class {label!r}" for row, label in labels.items()
        }
    return reasons


def _remaining_rows(rows: Iterable[Example], reasons: dict[Example, str]) -> list[Example]:
    return [row for row in rows if row not in reasons]


def _text_problem(row: Example, source: Example, max_length: int, method: Method) -> str:
    """The problem with the length, lines or numbers of a row's text, if any."""
    text, source_text = subject(row), subject(source)
    if len(text) > max_length:
        return f"longer than every row of train ({max_length:,} characters)"
    if "\n" in text and "\n" not in source_text:
        return "several lines where its original has one"
    if method.keeps_numbers and sorted(_NUMBER.findall(text)) != sorted(
        _NUMBER.findall(source_text)
    ):
        return "its numbers differ from those of its original"
    return ""


def _similarity_reasons(new_rows: Sequence[Example], dataset: Dataset) -> dict[Example, str]:
    """The reason for each new row that nearly repeats another row."""
    later_splits: list[tuple[Split, Sequence[Example]]] = [
        ("validation", dataset.splits["validation"]),
        ("test", dataset.splits["test"]),
    ]
    train = [_row("train", row) for row in dataset.splits["train"]]
    held_out = [_row(split, row) for split, rows in later_splits for row in rows]
    new_file_rows = [_row("train", row) for row in new_rows]
    reasons: dict[Example, str] = {}
    for index, _ in duplicates_across_splits(_searchable(chain(new_file_rows, held_out))):
        if index < len(new_file_rows):
            reasons[new_rows[index]] = "nearly the same as a row of validation or test"
    for index, other in duplicates_in_split(_searchable(chain(train, new_file_rows))):
        if index >= len(train):
            what = "a row of train" if other < len(train) else "another new row"
            reasons.setdefault(new_rows[index - len(train)], f"nearly the same as {what}")
    return reasons


def _row(split: Split, example: Example) -> FileRow:
    """A row with the question alone: a rewritten row has the answer of its source anyway."""
    question = Example(example.key, example.line, text=subject(example), label=example.label)
    return FileRow("", split, example.line, {}, question)


def _searchable(rows: Iterable[FileRow]) -> DataRows:
    """The rows in the form that the search for duplicates takes. It does not use the task."""
    return DataRows(name="", task="classification", rows=tuple(rows), forms={})


FOLDS = 5
"""Folds of the cross-validation in ``label_drifts``; the default of scikit-learn."""


def label_drifts(train: Sequence[Example], new_rows: Sequence[Example]) -> dict[Example, str]:
    """The likeliest class of each new row that seems to belong to another class than its own.

    A logistic regression on TF-IDF scores a fifth of the train rows, and the new rows made from
    them, after training on the other train rows. The likeliest class must reach a threshold: the
    mean probability that this class has on its train rows, as in confident learning (Northcutt et
    al. 2021, arXiv:1911.00068, section 3.1).

    Args:
        train: Train rows of at least two classes.
        new_rows: Rows of the same classes.

    Raises:
        NotInstalled: scikit-learn is missing.
    """
    with needed_for("The check of labels", install_command("train")):
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold, cross_val_predict
    rows = [*train, *new_rows]
    names, labels = np.unique([row.label for row in rows], return_inverse=True)
    folds = min(FOLDS, len({row.key for row in train}))
    if not new_rows or folds < 2:
        return {}
    tfidf = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+")
    tfidf.fit([row.text for row in train])
    # New rows are scored, not learned from.
    weights = (np.arange(len(rows)) < len(train)).astype(float)
    with warnings.catch_warnings():  # a fold may lack a class
        warnings.simplefilter("ignore")
        probabilities = cross_val_predict(
            LogisticRegression(max_iter=1000),
            tfidf.transform([row.text for row in rows]),
            labels,
            groups=[(row.made_from or (row.key,))[0] for row in rows],
            cv=GroupKFold(folds),
            method="predict_proba",
            params={"sample_weight": weights},
        )
    own_probabilities = probabilities[np.arange(len(train)), labels[: len(train)]]
    mean_by_class = np.array(
        [own_probabilities[labels[: len(train)] == k].mean() for k in range(len(names))]
    )
    likeliest = probabilities.argmax(axis=1)
    return {
        row: str(names[likeliest[index]])
        for index, row in enumerate(rows)
        if index >= len(train)
        and names[likeliest[index]] != row.label
        and probabilities[index, likeliest[index]] >= mean_by_class[likeliest[index]]
    }
