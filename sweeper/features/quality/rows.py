"""Applies the remedies and the row selection of a spec, and finds the faults a plan warns of.

The selection keeps the train rows with the most trusted labels, or rows that are spread over the
embeddings of the base model. Spread rows are chosen in a process with torch; the choice is kept in
``SWEEPER_HOME``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from sweeper.artifact import Artifact, Record
from sweeper.cache import home
from sweeper.child_process import in_child, request_bytes
from sweeper.data.examples import DataFault, Dataset, Example
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.write_rows import ListedChange
from sweeper.errors import UsageError
from sweeper.facts.dataset.domain_distance import weight_files
from sweeper.facts.models.model import model_facts
from sweeper.features.quality import _check
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._fix import fix
from sweeper.features.quality._kinds.base import FaultKind, kinds_by_name, remedies
from sweeper.features.quality._trust import label_trust, reason_not_checked
from sweeper.features.quality.options import Options
from sweeper.packages import TRAINING, require
from sweeper.spec import Spec


def before_split(spec: Spec, rows: DataRows) -> Iterable[ListedChange]:
    """The changes of remedies that use no model."""
    return fix(rows, _remedies_of(spec, rows, by_model=False)).changes


def after_split(spec: Spec, rows: DataRows) -> Iterator[ListedChange]:
    """The changes of remedies that use a model, and the removals of ``rows_to_leave_out``."""
    fixed = fix(rows, _remedies_of(spec, rows, by_model=True))
    yield from fixed.changes
    yield from rows_to_leave_out(fixed.data, spec)


def faults(spec: Spec, dataset: Dataset) -> Iterable[DataFault]:
    """The faults that a plan warns of, each with its remedy."""
    return _check.quick_faults(dataset, spec.data, spec.task)


def _remedies_of(spec: Spec, data: DataRows, *, by_model: bool) -> list[FaultKind]:
    """The requested remedies that use a model, or those that use none."""
    options = spec.features.of(Options)
    where = spec.places.where(("features", "quality", "remedies"))
    named = kinds_by_name(options.remedies, where)
    requested = [kind for kind in named if kind.uses_model == by_model]
    return remedies(requested, options.all_safe and not by_model, CheckedRows.of(data), where)


FUNCTION = "sweeper.features.quality._spread_rows:choose"
"""The function that the choosing process runs."""

_TIMEOUT_SECONDS = 24 * 3600
TrainRows = Sequence[tuple[int, FileRow, Example]]
"""Index in the data, row and example of each train row."""


class SpreadRequest(Record):
    """Texts to choose ``count`` from, and the folder of the base model that reads them."""

    folder: str
    texts: tuple[str, ...]
    count: int


class SpreadRows(Artifact):
    """The indexes of the chosen texts."""

    chosen: tuple[int, ...]


def rows_to_leave_out(data: DataRows, spec: Spec) -> Iterator[ListedChange]:
    """The removals of train rows that the selection does not keep.

    Raises:
        UsageError: The rows cannot be ranked as requested.
    """
    keep = spec.features.of(Options).keep
    train = [numbered_row for numbered_row in data.usable if numbered_row[1].split == "train"]
    if keep is None or len(train) <= keep.rows:
        return
    where = spec.places.where(("features", "quality", "keep", "by"))
    if keep.by == "spread":
        chosen = _spread(spec, train, keep.rows, where)
        for n, (_, row, _) in enumerate(train):
            if n not in chosen:
                yield _removal(row, "not among the rows chosen to cover all train rows")
        return
    if why := reason_not_checked(data):
        raise UsageError("rows cannot be ranked by label-trust", why, where=where)
    trusted = label_trust(data)
    trust = dict(zip(trusted.row_indexes, trusted.trust, strict=True))
    # Unchecked rows come first. Rows of equal trust are in random order, since keys are hashes.
    ranked = sorted(
        train, key=lambda numbered_row: (-trust.get(numbered_row[0], 1.0), numbered_row[2].key)
    )
    for rank, (_, row, _) in enumerate(ranked[keep.rows :], start=keep.rows + 1):
        yield _removal(row, f"rank {rank:,} of {len(train):,} by {keep.by}")


def _removal(row: FileRow, why: str) -> ListedChange:
    return ListedChange(row.path, row.line, "keep", "removed", why, row.fields, {})


def _spread(spec: Spec, train: TrainRows, count: int, where: str) -> set[int]:
    """Indexes in ``train`` of the rows nearest to the centres of clusters of their embeddings.

    The embedded text is the input of a row and, in a chat, the answer.
    """
    require("Ranking rows by spread", (*TRAINING, "sklearn"))
    if not spec.models:
        raise UsageError(
            "ranking rows by spread needs a base model", fix="Give --model.", where=where
        )
    model = model_facts(spec.models[0])
    files = weight_files(model)
    if not files:
        raise UsageError(
            f"rows cannot be ranked by spread: the weights of {model.id} are not on this machine",
            fix="Name a model that is on this machine, or rank by label-trust.",
            where=where,
        )
    texts = tuple(f"{row.input}\n{row.written}".strip() for _, row, _ in train)
    request = SpreadRequest(folder=str(model.folder), texts=texts, count=count)
    key_prefix = f"{model.id}|{model.revision}|{files}|".encode()
    key = hashlib.sha256(key_prefix + request_bytes(request)).hexdigest()
    path = home() / "spread-rows" / f"{key[:16]}.json"
    spread = SpreadRows.read_or_none(path)
    if spread is None:
        what = "the ranking by spread"
        spread = in_child(
            FUNCTION, request, SpreadRows, what=what, where=where, seconds=_TIMEOUT_SECONDS
        )
        spread.write(path)
    return set(spread.chosen)
