"""Facts about a data set of which only the number of examples is stated."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sweeper.data.examples import SPLITS
from sweeper.data.splits import requested_fractions, sizes
from sweeper.errors import DataError
from sweeper.facts.record import DataFacts, DomainFacts, LengthFacts, SplitFacts
from sweeper.resources import table
from sweeper.spec import DataSpec, Spec, Task


def stated_facts(spec: Spec) -> DataFacts:
    """The facts about a data set of ``spec.data.examples`` examples.

    Raises:
        DataError: The spec does not state a number of examples.
    """
    rows = spec.data.examples
    if rows is None:
        raise DataError(
            "neither data nor a number of examples was given",
            fix="Give --data PATH, or --examples N to plan without data.",
            where="data",
        )
    rows = min(rows, spec.data.max_rows or rows)
    stated = spec.aim.domain_distance
    domain = DomainFacts(distance=stated, decided_by="user") if stated else DomainFacts()
    splits = planned_splits(rows, spec.data)
    return DataFacts(
        rows=rows,
        train_rows=splits[0].rows,
        splits=splits,
        lengths=assumed_lengths(spec.task, spec.data.assumed_length),
        domain=domain,
    )


def planned_splits(rows: int, spec: DataSpec) -> tuple[SplitFacts, ...]:
    """The splits of a data set with this number of rows, without digests."""
    split_sizes = sizes(rows, requested_fractions(spec), spec.max_held_out_rows)
    return tuple(
        SplitFacts(name=split, rows=max(split_sizes[split], 1), origin="hash", sha256="")
        for split in SPLITS
    )


@lru_cache(maxsize=1)
def _assumed_lengths() -> Mapping[str, Mapping[str, Any]]:
    entries: Mapping[str, Mapping[str, Any]] = table("lengths.yaml")
    return entries


def assumed_lengths(task: Task, mean: int | None) -> LengthFacts:
    """The lengths that are assumed without data, from ``search_spaces/lengths.yaml``.

    Args:
        mean: Mean length in tokens that the user states; other lengths are scaled with it.
    """
    fields = dict(_assumed_lengths()[task])
    source = str(fields.pop("source"))
    factor = (mean or fields["mean"]) / fields["mean"]
    source = source if mean is None else f"a mean of {mean} tokens, as stated"
    scaled = {
        name: value * factor if name.endswith("mean") else max(round(value * factor), 1)
        for name, value in fields.items()
    }
    return LengthFacts(**scaled, measured_with=f"assumed: {source}", assumed=True)
