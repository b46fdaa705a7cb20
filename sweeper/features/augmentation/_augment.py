"""Asks a model for new rows, and keeps or rejects each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sweeper.data.changes import ListedChange
from sweeper.data.examples import Dataset, Example
from sweeper.data.table import Fields
from sweeper.features.augmentation._filters import rejection_reasons
from sweeper.features.augmentation._marks import MADE_FROM, METHOD
from sweeper.features.augmentation._methods import Method, ModelRequest, NoReply, RowRequest
from sweeper.features.augmentation._replies import Replies, Reply


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
        tokens_in: Prompt tokens of the requests of this command.
        tokens_out: Tokens of the replies to them.
    """

    rows: tuple[Fields, ...]
    changes: tuple[ListedChange, ...]
    tokens_in: int
    tokens_out: int


def requests(
    method: Method, row_requests: Sequence[RowRequest], replies: Replies
) -> tuple[int, list[ModelRequest]]:
    """How many row requests have a first reply, and the first model requests of the others."""
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
    """Make one new row for each request, and keep those that may be trained on.

    ``client`` answers what ``replies`` does not hold. ``report`` is told how many are done.

    Raises:
        UsageError: The model answers nothing. Its earlier replies are kept.
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
        changes.append(ListedChange(dataset.path, line, method.name, action, why, {}, after))
    return Augmented(
        tuple(change.after for change in changes if change.action == "added"),
        tuple(changes),
        sum(reply.tokens_in for reply in new_replies),
        sum(reply.tokens_out for reply in new_replies),
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
