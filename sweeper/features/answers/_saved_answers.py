"""Reads saved answers, matches them with rows by prompt, and builds requests to obtain them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeper.artifact import Record
from sweeper.data.examples import Dataset, Message, Split
from sweeper.data.problems import listing
from sweeper.data.tools import calls_of, extras_json, for_template, text_with_calls
from sweeper.errors import DataError
from sweeper.spec import DataSpec, Spec

HELD_OUT: tuple[Split, ...] = ("validation", "test")
"""The splits whose rows a model must answer."""
_KEY_FIELD = "custom_id"
"""The field with a request's id in files of OpenAI's Batch API; here it holds the prompt's key."""


class SavedAnswers(Record):
    """The answers of one model.

    Args:
        name: Name of the model's files in a run: ``answers-TITLE``.
        title: Name of the model in reports: that of ``path`` without ``.jsonl``.
        sha256: Digest of the answers; empty before ``checked``.
    """

    name: str
    title: str
    path: str
    sha256: str = ""

    @classmethod
    def of(cls, path: str) -> SavedAnswers:
        """The answers in a file, which is not read yet."""
        title = Path(path).name.partition(".jsonl")[0]
        return cls(name=f"answers-{title}", title=title, path=path)

    def answers_for(self, dataset: Dataset, spec: Spec, *splits: Split) -> list[str]:
        """The answer to each example of these splits.

        Raises:
            DataError: The file cannot be read, or lacks answers.
        """
        answers = _read(self.path, spec)
        missing: dict[str, list[int]] = {}
        for split in splits:
            for example in dataset.splits[split]:
                if example.key not in answers:
                    missing.setdefault(split, []).append(example.line)
        if missing:
            count = sum(map(len, missing.values()))
            rows = sum(len(dataset.splits[split]) for split in splits)
            lines = [
                f"line {listing(sorted(numbers))} of {split}" for split, numbers in missing.items()
            ]
            raise DataError(
                f"{count:,} of {rows:,} answers are missing",
                why=f"Nothing answers the rows in {' and '.join(lines)}.",
                fix="'sweeper data prompts' writes all prompts that must be answered.",
                where=self.path,
            )
        return [answers[example.key] for split in splits for example in dataset.splits[split]]

    def checked(self, dataset: Dataset, spec: Spec) -> SavedAnswers:
        """A copy with the digest of its answers, after a check that none is missing.

        Raises:
            DataError: See ``answers_for``.
        """
        answers = json.dumps(self.answers_for(dataset, spec, *HELD_OUT))
        digest = hashlib.sha256(answers.encode("utf-8", "surrogatepass"))
        return self.model_copy(update={"sha256": digest.hexdigest()})


def _read(path: str, spec: Spec) -> Mapping[str, str]:
    """The answers by the keys of their prompts.

    The file is the output of OpenAI's Batch API for the file of ``sweeper data prompts``, or
    has the rows of the data with the model's answers in place of their own.

    Raises:
        DataError: The file cannot be read, or has several answers to one prompt.
    """
    # Not at the top: every plan loads this module, but only plans with answers read rows here.
    from sweeper.data.reading.layout import SplitFiles
    from sweeper.data.reading.read import read
    from sweeper.data.rows import read_rows

    table = read(Path(path))
    if any(_KEY_FIELD in fields for fields in table.spread_rows(1)):  # in the first row
        pairs: Iterator[tuple[int, str, str]] = (
            (line, str(fields.get(_KEY_FIELD)), answer)
            for line, fields in table.rows
            if (answer := _batch_answer(fields)) is not None
        )
    else:
        data_spec = DataSpec(path=path, format=spec.data.format, columns=spec.data.columns)
        rows = read_rows(data_spec, spec.task, SplitFiles({"train": (Path(path),)})).rows
        pairs = ((row.line, row.example.key, row.example.answer) for row in rows if row.example)
    answers: dict[str, str] = {}
    for line, key, answer in pairs:
        if answers.setdefault(key, answer) != answer:
            raise DataError(
                "two answers to the same prompt",
                why="Only one of them can be scored.",
                fix="Leave one answer to each prompt.",
                where=f"{path}:{line}",
            )
    return answers


def _batch_answer(fields: Mapping[str, object]) -> str | None:
    """The answer in a line of the Batch API; None if the request failed."""
    try:
        response: Any = fields["response"]
        answer = response["body"]["choices"][0]["message"]
        calls = (
            extras_json(tool_calls=calls_of(answer["tool_calls"]))
            if answer.get("tool_calls")
            else ""
        )
        return text_with_calls(Message("assistant", answer.get("content") or "", calls))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None


class PromptsFile(Record):
    """A file with prompts: the numbers of prompts, and of rows by split."""

    output: str
    prompts: int
    rows: dict[str, int]


def prompts(dataset: Dataset, model: str) -> Iterator[dict[str, object]]:
    """A request of the Batch API for each different prompt of validation and test."""
    written_keys: set[str] = set()
    for example in (example for split in HELD_OUT for example in dataset.splits[split]):
        if example.key in written_keys:
            continue
        written_keys.add(example.key)
        turns = example.messages[:-1] or (Message("user", example.text),)
        messages, tools = for_template(turns)
        for turn in messages:
            for call in turn.get("tool_calls", ()):
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        body = {"model": model, "messages": messages, **({"tools": tools} if tools else {})}
        yield {
            _KEY_FIELD: example.key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
