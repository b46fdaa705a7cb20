"""The steps of ``sweeper predict``: the weights, the rows and the records of the output."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from sweeper import child_process
from sweeper.artifact import Artifact, Record
from sweeper.cli.data_options import must_be_free
from sweeper.data.formats.row_format import known_names
from sweeper.errors import RunError, UsageError
from sweeper.execution.interruption import leaving_on_signals
from sweeper.runfolder import RunFolder
from sweeper.safe_text import LABEL_CHARACTERS, shortened, visible
from sweeper.steps.winner import kept_weights
from sweeper.textfiles import write_text
from sweeper.views.work_progress import work_progress


class PredictedRow(Record):
    """One line of the output.

    Args:
        row: Number of the row, from 1.
        label: Predicted class; None if the model generates text.
        probabilities: Probability by class, most likely first; None if it generates text.
        text: Generated text; None if the model classifies.
    """

    row: int
    label: str | None = None
    probabilities: dict[str, float] | None = None
    text: str | None = None


class PredictedFile(Record):
    """What ``sweeper predict --output FILE --json`` prints."""

    output: str
    rows: int


class PredictionRequest(Artifact):
    """The model, rows, settings and output of one command.

    Args:
        weights: Folder ``weights/`` of a trial.
        data: A data file, or - for standard input; None if ``text`` is given.
        part: Partial output: a header, then one line of JSON for each predicted row.
    """

    weights: str = ""
    data: str | None = None
    text: str | None = None
    part: str = ""
    batch_size: int
    max_new_tokens: int


def predictions(
    model: str, trial: int | None, output: Path | None, settings: PredictionRequest, *, quiet: bool
) -> list[str]:
    """A line of JSON for each row, in order; also written to ``output`` if it is given.

    Args:
        settings: Rows and settings; ``weights`` and ``part`` are empty.

    Raises:
        UsageError: The model or the rows cannot be used, or the output cannot be written.
    """
    if output is not None:
        must_be_free(output)
    weights = weights_of(model, trial)
    with tempfile.TemporaryDirectory(prefix="sweeper-predict-") as folder:
        part = output.with_name(output.name + ".part") if output else Path(folder) / "part.jsonl"
        data = str(saved_stdin(Path(folder))) if settings.data == "-" else settings.data
        paths = {"weights": str(weights), "data": data, "part": str(part)}
        request = settings.model_copy(update=paths)
        hint = " The same command continues where it stopped." if output else ""
        with leaving_on_signals(f"Interrupted.{hint}"), closing(work_progress(quiet=quiet)) as work:
            function = "sweeper.features.prediction._predict:predict"
            child_process.in_child(function, request, Record, what="the prediction", work=work)
        lines = in_row_order(part)
        if output is not None:
            write_text(output, "".join(lines))
            part.unlink()
    return lines


def weights_of(model: str, trial: int | None) -> Path:
    """The folder of weights that a run or a path names.

    Raises:
        UsageError: There is no such run, trial or folder, or the trial kept no weights.
    """
    for folder in (Path(model), Path(model) / "weights"):
        if (folder / "sweeper.json").is_file():
            if trial is not None:
                raise UsageError("--trial needs a run, and this is one model", where=str(folder))
            return folder
    try:
        run = RunFolder.find(model)
    except RunError as error:
        if not Path(model).is_dir():
            raise
        raise UsageError(
            "this folder holds no trained model",
            why="It has neither sweeper.json nor, as a run has, plan.json.",
            fix="Name a run, or the folder weights/ of one of its trials.",
            where=model,
        ) from error
    return kept_weights(run, trial)


def saved_stdin(folder: Path) -> Path:
    """Write standard input into a file with the suffix of its format."""
    data = sys.stdin.buffer.read()
    first_byte = data.lstrip()[:1]
    suffix = {b"{": ".jsonl", b"[": ".json"}.get(first_byte, ".txt")
    if data[:4] == b"PAR1":
        suffix = ".parquet"
    elif suffix == ".txt":
        suffix = _suffix_by_delimiter(data.partition(b"\n")[0].decode("utf-8", "replace"))
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path


def _suffix_by_delimiter(first_line: str) -> str:
    for delimiter, suffix in ((",", ".csv"), ("\t", ".tsv")):
        names = [name.strip(' "\r').lower() for name in first_line.split(delimiter)]
        if known_names().intersection(names):
            return suffix
    return ".txt"


def in_row_order(part: Path) -> list[str]:
    """The predictions in a finished partial file, in the order of the rows."""
    lines = part.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    return sorted(lines, key=lambda line: int(json.loads(line)["row"]))


def readable_line(line: str) -> str:
    """A line of JSON as text: the three most likely classes, or the generated text."""
    fields = json.loads(line)
    if "label" not in fields:
        return visible(str(fields["text"]))
    likely = list(fields["probabilities"].items())[:3]
    names = (visible(shortened(name, LABEL_CHARACTERS)) for name, _ in likely)
    return "  ".join(f"{name} {share:.1%}" for name, (_, share) in zip(names, likely, strict=True))
