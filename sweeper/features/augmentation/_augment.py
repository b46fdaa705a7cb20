"""New rows for a data set: asked for, and kept or rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sweeper.data.changes import ListedChange
from sweeper.data.examples import Dataset, Example
from sweeper.data.table import Fields
from sweeper.features.augmentation._filters import rejected
from sweeper.features.augmentation._marks import MADE_FROM, METHOD
from sweeper.features.augmentation._methods import Method, ModelRequest, NewRow, NoReply
from sweeper.features.augmentation._replies import Replies, Reply


class Writer(Protocol):
    """A model that answers requests."""

    async def ask(self, request: ModelRequest) -> Reply: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Augmented:
    """The results of the jobs.

    Args:
        rows: The new rows, as a file holds them.
        changes: A line for each job: added, rejected or failed.
        tokens_in: That were read in this call.
        tokens_out: That were written.
    """

    rows: tuple[Fields, ...]
    changes: tuple[ListedChange, ...]
    tokens_in: int
    tokens_out: int


def requests(
    method: Method, jobs: Sequence[NewRow], replies: Replies
) -> tuple[int, list[ModelRequest]]:
    """How many jobs have a reply to their first request, and the first requests of the others."""
    first = [method.first(job) for job in jobs]
    missing = [request for request in first if replies.known(request) is None]
    return len(first) - len(missing), missing


async def augment(
    dataset: Dataset,
    method: Method,
    jobs: Sequence[NewRow],
    writer: Writer,
    replies: Replies,
    report: Callable[[str, int, int], None],
) -> Augmented:
    """Make the rows of a data set's jobs, and keep those that may be trained on.

    ``writer`` answers what ``replies`` does not hold. ``told`` is told how many jobs are done.

    Raises:
        UsageError: The model answers nothing. What it answered before is kept.
    """
    new: list[Reply] = []
    done = 0

    async def ask(request: ModelRequest) -> str:
        reply = replies.known(request)
        if reply is None:
            reply = await writer.ask(request)
            replies.keep(request, reply)
            new.append(reply)
        return reply.text

    async def one(number: int, job: NewRow) -> Example | str:
        nonlocal done
        try:
            # With the number of the job, by which rows are told apart that come out the same.
            return replace(await method.make(job, ask), line=number)
        except NoReply as why:
            return str(why)
        finally:
            done += 1
            report(f"asking for {method.name} rows", done, len(jobs))

    try:
        results = await asyncio.gather(*(one(*numbered) for numbered in enumerate(jobs)))
    finally:
        await writer.close()
    pairs = list(zip(jobs, results, strict=True))
    made = {row: job.first for job, row in pairs if isinstance(row, Example)}
    reasons = rejected(made, dataset, method)
    changes = []
    for job, row in pairs:
        after: Mapping[str, object] = {}
        if isinstance(row, str):
            action, why = "failed", row
        else:
            why, after = reasons.get(row, ""), fields_of(row, method.name)
            action = "rejected" if why else "added"
        line = job.first.line
        changes.append(ListedChange(dataset.path, line, method.name, action, why, {}, after))
    return Augmented(
        tuple(change.after for change in changes if change.action == "added"),
        tuple(changes),
        sum(reply.tokens_in for reply in new),
        sum(reply.tokens_out for reply in new),
    )


def fields_of(row: Example, method: str) -> Mapping[str, object]:
    """A new row as a file holds it, with its marks."""
    marks = {MADE_FROM: " ".join(row.made_from), METHOD: method}
    if row.messages:
        turns = [
            {"role": m.role, "content": m.content, **({} if m.trained else {"weight": 0})}
            for m in row.messages
        ]
        return {"messages": turns, **marks}
    label = {} if row.label is None else {"label": row.label}
    return {"text": row.text, **label, **marks}
