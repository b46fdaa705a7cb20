"""Predictions for every row of a file, in JSON lines.

Writes a row as soon as it is predicted, so that the same request continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sweeper.backend import Underway
from sweeper.child_process import tell_progress
from sweeper.data.examples import Example
from sweeper.data.reading.read import read
from sweeper.errors import UsageError
from sweeper.features.prediction._inputs import inputs
from sweeper.features.prediction._request import PredictionRequest
from sweeper.jsontext import object_of
from sweeper.use.model import Model, Prediction, load


def predict(request: PredictionRequest) -> None:
    """Predict every row that the part does not hold yet.

    Raises:
        UsageError: The model or the rows cannot be used, or the part is of others.
    """
    model = load(request.weights)
    examples = _examples(model, request)
    part = Path(request.part)
    head = {"of": _digest(request, model, examples)}
    done = _done(part, head)
    missing = [place for place in range(len(examples)) if place not in done]
    progress = Underway(tell_progress).steps("predicting")
    ready = len(examples) - len(missing)
    with part.open("a", encoding="utf-8") as file:
        if file.tell() == 0:
            file.write(json.dumps(head) + "\n")
        progress(ready, len(examples))
        for places, predictions in model.batches(
            [examples[place] for place in missing],
            batch_size=request.batch_size,
            max_new_tokens=request.max_new_tokens,
        ):
            rows = zip(places, predictions, strict=True)
            file.writelines(_line(missing[place], prediction) for place, prediction in rows)
            file.flush()
            ready += len(places)
            progress(ready, len(examples))


def _examples(model: Model, request: PredictionRequest) -> list[Example]:
    if request.text is not None:
        if not request.text.strip():
            raise UsageError("the text is empty", fix="Give a text, or a file with --data.")
        return [model.example(request.text)]
    assert request.data is not None
    return inputs(read(Path(request.data)), model.record.data_format, model.record.columns)


def _digest(request: PredictionRequest, model: Model, examples: list[Example]) -> str:
    """A digest of rows, model and settings."""
    sha = hashlib.sha256(model.record.to_json().encode())
    sha.update(f"{request.max_new_tokens}\n".encode())
    for example in examples:
        sha.update(f"{example.content_hash()}\n".encode())
    return sha.hexdigest()


def _done(part: Path, head: dict[str, str]) -> set[int]:
    """The rows in a partial file; an incomplete last line is removed."""
    if not part.is_file():
        return set()
    whole = [line for line in part.read_text(encoding="utf-8").splitlines(True) if line[-1] == "\n"]
    try:
        lines = [object_of(line) for line in whole]
        done = {int(line["row"]) - 1 for line in lines[1:]}
    except (ValueError, KeyError, TypeError):
        lines, done = [{}], set()
    if lines and lines[0] != head:
        raise UsageError(
            "the unfinished output is of another model, other rows or other settings",
            fix="Delete it, or name another --output.",
            where=str(part),
        )
    part.write_text("".join(whole), encoding="utf-8")
    return done


def _line(place: int, prediction: Prediction) -> str:
    fields: dict[str, Any] = {"row": place + 1}
    if prediction.label is not None:
        fields |= {"label": prediction.label, "probabilities": prediction.probabilities}
    else:
        fields |= {"text": prediction.text}
    return json.dumps(fields, ensure_ascii=False) + "\n"
