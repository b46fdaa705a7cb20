"""The split of a run as files that other trainers read: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from sweeper.artifact import write_text
from sweeper.data.examples import Dataset, Example, Message, Split
from sweeper.data.formats.text_label import class_turns
from sweeper.data.tools import as_text, for_template
from sweeper.errors import UsageError

RowForm = Literal["messages", "prompt-completion", "instruction", "text"]
Turns = list[Message]


def write_rows(
    folder: Path,
    dataset: Dataset,
    names: Mapping[Split, str],
    form: RowForm,
    system_prompt: str | None,
) -> list[Path]:
    """Write one file for each split.

    Args:
        folder: Where to; made if it is not there.
        names: The splits, and the names of their files.
        form: ``messages``: a list of messages. ``prompt-completion``: ``prompt`` and
            ``completion``, both lists of messages. ``instruction``: ``instruction`` and
            ``output``. ``text``: ``text``.
        system_prompt: Opens every conversation that has no system message of its own.

    Raises:
        UsageError: A row cannot be written in this form.
    """
    write = _FORMS[form]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for split, name in names.items():
        rows = [write(_turns(one, dataset, system_prompt), one) for one in dataset.splits[split]]
        files.append(folder / f"{name}.jsonl")
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        write_text(files[-1], text)
    return files


def one_answer_each(dataset: Dataset) -> bool:
    """Whether every conversation holds a single answer, its last message."""
    return all(
        sum(turn.role == "assistant" for turn in example.messages) <= 1
        for split in dataset.splits.values()
        for example in split
    )


def is_plain_text(dataset: Dataset) -> bool:
    """Whether rows are texts to continue, without question and answer."""
    train = dataset.splits["train"]
    return not dataset.labels and not any(example.messages for example in train)


def _turns(example: Example, dataset: Dataset, system_prompt: str | None) -> Turns:
    turns = list(class_turns(example, dataset.labels) if dataset.labels else example.messages)
    if turns and system_prompt and turns[0].role != "system":
        turns.insert(0, Message("system", system_prompt))
    return turns


def _messages(turns: Turns, _: Example) -> dict[str, Any]:
    said, tools = for_template(turns)
    return {"messages": said, **({"tools": tools} if tools else {})}


def _prompt_completion(turns: Turns, _: Example) -> dict[str, Any]:
    said, tools = for_template(turns)
    return {"prompt": said[:-1], "completion": said[-1:], **({"tools": tools} if tools else {})}


def _instruction(turns: Turns, example: Example) -> dict[str, Any]:
    turns = as_text(turns)
    if sum(turn.role == "user" for turn in turns) != 1:
        raise UsageError(
            f"row {example.line} has several questions, and this trainer reads one question a row",
            fix="Export to 'trl' or 'axolotl', which read conversations.",
        )
    asked = "\n\n".join(turn.content for turn in turns[:-1])
    return {"instruction": asked, "output": turns[-1].content}


def _text(_: Turns, example: Example) -> dict[str, Any]:
    return {"text": example.text}


_FORMS: Mapping[RowForm, Callable[[Turns, Example], dict[str, Any]]] = {
    "messages": _messages,
    "prompt-completion": _prompt_completion,
    "instruction": _instruction,
    "text": _text,
}
