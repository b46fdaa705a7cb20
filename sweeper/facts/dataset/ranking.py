"""The best rows of train, by one of three rankings. Those that need the base model ask a process
with torch, and its answer is kept in ``SWEEPER_HOME``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeper.artifact import write_text
from sweeper.cache import home
from sweeper.child_process import NoAnswer, ask_object
from sweeper.data.examples import Example
from sweeper.data.quality.rows import DataRows, FileRow
from sweeper.data.quality.trust import judgeable, judged, why_not
from sweeper.errors import UsageError
from sweeper.extras import TRAINING, require
from sweeper.facts.dataset.bits_per_byte import weight_files
from sweeper.facts.models.model import model_facts
from sweeper.jsontext import object_of
from sweeper.spec import KeepSpec, Spec

KEEP = "keep"
"""Stands for the choice of rows in lists of changes."""

MODULE = "sweeper.training.probes.row_scores"
_TIMEOUT_SECONDS = 24 * 3600
Train = Sequence[tuple[int, FileRow, Example]]


def beyond_best(data: DataRows, spec: Spec, keep: KeepSpec) -> Iterator[tuple[FileRow, str]]:
    """The rows of train that are not among the best, each with the reason.

    Args:
        data: The rows of all splits.
        spec: Names the base model.
        keep: How many rows are kept, and how they are ranked.

    Raises:
        UsageError: The rows cannot be ranked like that.
    """
    train = [one for one in data.usable if one[1].split == "train"]
    if len(train) <= keep.rows:
        return
    where = spec.places.where(("curation", "keep", "by"))
    if keep.by == "spread":
        texts = [f"{row.input}\n{row.written}".strip() for _, row, _ in train]
        answer = _asked(spec, {"texts": texts, "count": keep.rows}, where)
        chosen = set(answer["chosen"])
        for n, (_, row, _) in enumerate(train):
            if n not in chosen:
                yield row, "not one of the rows that are spread over all"
        return
    if keep.by == "difficulty":
        scores = _difficulties(spec, train, where)
    else:
        scores = _distrust(data, train, where)
    # Keys are hashes: among equals the choice is random, and the same every time.
    order = sorted(range(len(train)), key=lambda n: (scores[n], train[n][2].key))
    for rank, n in enumerate(order[keep.rows :], start=keep.rows + 1):
        yield train[n][1], f"rank {rank:,} of {len(train):,} by {keep.by}"


def _distrust(data: DataRows, train: Train, where: str) -> list[float]:
    """Lowest where words go best with the label; rows that are not judged come first."""
    if why := why_not(data):
        raise UsageError("rows cannot be ranked by label-trust", why, where=where)
    trust = dict(zip(judgeable(data), judged(data).trust, strict=True))
    return [-trust.get(place, 1.0) for place, _, _ in train]


def _difficulties(spec: Spec, train: Train, where: str) -> list[float]:
    """Lowest where the prompt tells most of the answer."""
    if not all(row.written for _, row, _ in train):
        raise UsageError(
            "rows cannot be ranked by difficulty",
            why="It is the loss of written answers.",
            fix="Rank classes by label-trust.",
            where=where,
        )
    pairs = [[row.input, row.written] for _, row, _ in train]
    scores: list[float] = _asked(spec, {"pairs": pairs}, where)["scores"]
    return scores


def _asked(spec: Spec, request: Mapping[str, object], where: str) -> dict[str, Any]:
    require("Ranking rows with the base model", (*TRAINING, "sklearn"))
    if not spec.models:
        raise UsageError("ranking rows needs a base model", fix="Give --model.", where=where)
    model = model_facts(spec.models[0])
    files = weight_files(model)
    if not files or ("pairs" in request and model.kind != "decoder"):
        why = (
            "Its weights are not at hand." if not files else "It is no decoder, so it has no loss."
        )
        fix = "Name a model that is on this machine, or rank by label-trust."
        raise UsageError(f"{model.id} cannot rank rows", why, fix, where)
    question = json.dumps({"folder": model.folder, **request})
    key = hashlib.sha256(f"{model.id}|{model.revision}|{files}|{question}".encode()).hexdigest()
    path = home() / "row-scores" / f"{key[:16]}.json"
    if path.is_file():
        try:
            return object_of(path.read_text(encoding="utf-8"))
        except ValueError:
            pass  # damaged: asked again
    try:
        answer = ask_object(MODULE, question, seconds=_TIMEOUT_SECONDS)
    except NoAnswer as error:
        raise UsageError(f"rows could not be ranked: {error}", where=where) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(answer))
    return answer
