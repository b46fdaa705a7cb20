"""The best rows of train, by trust in their labels or spread over what the base model makes of
them. The latter asks a process with torch; its answer is kept in ``SWEEPER_HOME``."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence

from sweeper.artifact import write_text
from sweeper.cache import home
from sweeper.child_process import NoAnswer, ask_object
from sweeper.data.changes import ListedChange
from sweeper.data.examples import Example
from sweeper.data.rows import DataRows, FileRow
from sweeper.errors import UsageError
from sweeper.extras import TRAINING, require
from sweeper.facts.dataset.bits_per_byte import weight_files
from sweeper.facts.models.model import model_facts
from sweeper.features.quality._trust import label_trust, why_not
from sweeper.features.quality.options import Options
from sweeper.jsontext import object_of
from sweeper.spec import Spec

MODULE = "sweeper.features.quality._spread_rows"
_TIMEOUT_SECONDS = 24 * 3600
Train = Sequence[tuple[int, FileRow, Example]]


def beyond_best(data: DataRows, spec: Spec) -> Iterator[ListedChange]:
    """The rows of train that are not among the best and are left out, each with the reason.

    Raises:
        UsageError: The rows cannot be ranked like that.
    """
    keep = spec.features.of(Options).keep
    train = [one for one in data.usable if one[1].split == "train"]
    if keep is None or len(train) <= keep.rows:
        return
    where = spec.places.where(("features", "quality", "keep", "by"))
    if keep.by == "spread":
        chosen = _spread(spec, train, keep.rows, where)
        for n, (_, row, _) in enumerate(train):
            if n not in chosen:
                yield _left_out(row, "not one of the rows that are spread over all")
        return
    if why := why_not(data):
        raise UsageError("rows cannot be ranked by label-trust", why, where=where)
    found = label_trust(data)
    trust = dict(zip(found.places, found.trust, strict=True))
    # Rows that are not checked come first. Keys are hashes: among equals the choice is random, and
    # the same every time.
    ranked = sorted(train, key=lambda one: (-trust.get(one[0], 1.0), one[2].key))
    for rank, (_, row, _) in enumerate(ranked[keep.rows :], start=keep.rows + 1):
        yield _left_out(row, f"rank {rank:,} of {len(train):,} by {keep.by}")


def _left_out(row: FileRow, why: str) -> ListedChange:
    return ListedChange(row.path, row.line, "keep", "removed", why, row.fields, {})


def _spread(spec: Spec, train: Train, count: int, where: str) -> set[int]:
    """Numbers of the rows that are nearest to the middles of clusters of their features."""
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
    texts = [f"{row.input}\n{row.written}".strip() for _, row, _ in train]
    question = json.dumps({"folder": model.folder, "texts": texts, "count": count})
    key = hashlib.sha256(f"{model.id}|{model.revision}|{files}|{question}".encode()).hexdigest()
    path = home() / "spread-rows" / f"{key[:16]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):  # none yet, or damaged: asked again
        return set(object_of(path.read_text(encoding="utf-8"))["chosen"])
    try:
        answer = ask_object(MODULE, question, seconds=_TIMEOUT_SECONDS)
    except NoAnswer as error:
        raise UsageError(f"rows could not be ranked by spread: {error}", where=where) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(answer))
    return set(answer["chosen"])
