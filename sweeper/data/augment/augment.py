"""New rows for a data set: asked for, kept or rejected, and how much that costs beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sweeper.data.augment.filters import rejected
from sweeper.data.augment.methods import Job, Method, NoReply, Request
from sweeper.data.augment.replies import Replies, Reply
from sweeper.data.examples import Dataset, Example
from sweeper.data.marks import MADE_FROM, METHOD
from sweeper.data.quality.fix import ListedChange
from sweeper.data.table import Fields

Told = Callable[[str, int, int], None]


class Writer(Protocol):
    """A model that answers requests."""

    async def ask(self, request: Request) -> Reply: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Price:
    """Money for a million tokens, read and written."""

    read: float
    written: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """The cost of so many tokens."""
        return (tokens_in * self.read + tokens_out * self.written) / 1e6


@dataclass(frozen=True)
class Estimate:
    """Estimated requests and tokens of a command, without replies that are already kept.

    Args:
        rows: To be made.
        requests: To be sent.
        kept: First requests whose replies are there.
        tokens_in: To be read by the model.
        tokens_out: To be written.
    """

    rows: int
    requests: int
    kept: int
    tokens_in: int
    tokens_out: int


def estimate(
    jobs: Sequence[Job],
    method: Method,
    replies: Replies,
    count: Callable[[Sequence[str]], list[int]],
) -> Estimate:
    """Estimate requests and tokens of the jobs.

    Args:
        jobs: The rows to make.
        method: How.
        replies: Those that are there.
        count: Counts the tokens of texts.
    """
    first = [method.first(job) for job in jobs]
    missing = [request for request in first if replies.known(request) is None]
    read = sum(count(["\n".join(m.content for m in one.messages) for one in missing]))
    written = sum(count(["x" * one.expected for one in missing]))
    times = method.requests_per_row
    return Estimate(
        len(jobs), times * len(missing), len(first) - len(missing), times * read, times * written
    )


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

    def count(self, action: str) -> int:
        """The number of jobs with this end."""
        return sum(change.action == action for change in self.changes)


async def augment(
    dataset: Dataset,
    method: Method,
    jobs: Sequence[Job],
    writer: Writer,
    replies: Replies,
    told: Told,
) -> Augmented:
    """Make the rows, and keep those that may be trained on.

    Args:
        dataset: Whose train split the jobs are of.
        method: How rows are made.
        jobs: The rows to make.
        writer: Answers what ``replies`` does not hold.
        replies: Takes every reply.
        told: Is told how many jobs are done.

    Raises:
        UsageError: The model answers nothing. What it answered before is kept.
    """
    spent = [0, 0]
    done = 0

    async def ask(request: Request) -> str:
        reply = replies.known(request)
        if reply is None:
            reply = await writer.ask(request)
            replies.keep(request, reply)
            spent[0] += reply.tokens_in
            spent[1] += reply.tokens_out
        return reply.text

    async def one(job: Job) -> Example | str:
        nonlocal done
        try:
            return await method.make(job, ask)
        except NoReply as why:
            return str(why)
        finally:
            done += 1
            told(f"asking for {method.name} rows", done, len(jobs))

    try:
        results = await asyncio.gather(*(one(job) for job in jobs))
    finally:
        await writer.close()
    made = [(job, row) for job, row in zip(jobs, results, strict=True) if isinstance(row, Example)]
    # Two jobs may come to the same row: each is an object of its own, told apart by its number.
    numbered = [replace(row, line=number) for number, (_, row) in enumerate(made)]
    reasons = rejected(numbered, dataset, method, [job.first for job, _ in made])
    rows, changes = [], []
    for number, (job, row) in zip(numbered, made, strict=True):
        why = reasons.get(number, "")
        if not why:
            rows.append(fields_of(row))
        action = "rejected" if why else "added"
        changes.append(_change(dataset, method, job, action, why, fields_of(row)))
    for job, failure in zip(jobs, results, strict=True):
        if isinstance(failure, str):
            changes.append(_change(dataset, method, job, "failed", failure, {}))
    return Augmented(tuple(rows), tuple(changes), *spent)


def _change(
    dataset: Dataset, method: Method, job: Job, action: str, why: str, after: Mapping[str, object]
) -> ListedChange:
    return ListedChange(dataset.path, job.first.line, method.name, action, why, {}, after)


def fields_of(row: Example) -> dict[str, object]:
    """A new row as a file holds it, with its marks."""
    marks = {MADE_FROM: " ".join(row.made_from), METHOD: row.method}
    if row.messages:
        turns = [{"role": m.role, "content": m.content} for m in row.messages]
        return {"messages": turns, **marks}
    if row.label is not None:
        return {"text": row.text, "label": row.label, **marks}
    return {"text": row.text, **marks}
