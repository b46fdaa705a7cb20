"""The shapes that rows come in, as data: which roles a format needs and how columns are named.

Order is meaning: earlier shapes win, so that a question with a context is an instruction before
it is a prompt, and no prompt is taken for plain text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.data import column_names
from sweeper.data.column_names import Role
from sweeper.data.examples import DataFormat
from sweeper.spec import Task

Candidates = Mapping[Role, tuple[str, ...]]


@dataclass(frozen=True)
class Shape:
    """Roles of one format, each with the names that its column may have."""

    format: DataFormat
    required: Candidates
    optional: Candidates = field(default_factory=dict)

    def columns(self, present: Mapping[str, str], fixed: Mapping[Role, str]) -> dict[Role, str]:
        """Role to column as far as names go; empty if a required role has no column.

        Args:
            present: Lower-case name to column.
            fixed: Columns that the user named.
        """
        found: dict[Role, str] = {}
        for role, candidates in {**self.required, **self.optional}.items():
            column = fixed.get(role) or next(
                (present[name] for name in candidates if name in present), None
            )
            if column is not None and column not in found.values():
                found[role] = column
            elif role in self.required:
                return {}
        return found


_SYSTEM: Candidates = {"system": column_names.SYSTEM}

SHAPES: tuple[Shape, ...] = (
    Shape("messages", {"messages": column_names.CONVERSATION}, _SYSTEM),
    Shape(
        "instruction",
        {"instruction": ("instruction",), "output": column_names.INSTRUCTION_OUTPUT},
        {
            "input": column_names.INSTRUCTION_INPUT,
            "history": column_names.HISTORY,
            "tests": column_names.TESTS,
            **_SYSTEM,
        },
    ),
    Shape(
        "instruction",
        {
            "instruction": ("question",),
            "input": column_names.CONTEXT,
            "output": ("answer", "response"),
        },
        _SYSTEM,
    ),
    Shape(
        "instruction",
        {
            "system": ("system_prompt",),
            "instruction": ("question",),
            "output": ("response", "answer"),
        },
    ),
    *(
        Shape(
            "prompt-completion",
            {"prompt": (prompt,), "completion": (completion,)},
            {"tests": column_names.TESTS, **_SYSTEM},
        )
        for prompt, completion in column_names.PROMPT_COMPLETION
    ),
    *(
        Shape(
            "text-label",
            {
                "text": (one,),
                "text_pair": (two,),
                "label": (*column_names.LABEL_TEXT, *column_names.LABEL),
            },
        )
        for one, two in column_names.PAIRS
    ),
    Shape(
        "text-label",
        {
            "text": column_names.CLASSIFIED_TEXT,
            "label": (*column_names.LABEL_TEXT, *column_names.LABEL),
        },
    ),
    Shape("text", {"text": column_names.PLAIN_TEXT}),
)

FORMATS: dict[str, DataFormat] = {
    "text-label": "text-label",
    "instruction": "instruction",
    "prompt-completion": "prompt-completion",
    "messages": "messages",
    "text": "text",
    "alpaca": "instruction",
    "sharegpt": "messages",
    "openai": "messages",
}
"""What ``DataSpec.format`` may say, with the names that other tools use."""

WANTED: dict[Task, tuple[DataFormat, ...]] = {
    "classification": ("text-label",),
    "instruction": ("messages", "instruction", "prompt-completion", "text"),
    "code": ("messages", "instruction", "prompt-completion", "text"),
    "domain": ("messages", "instruction", "prompt-completion", "text"),
}
"""The formats that a task can be trained on. A plain text of an instruction or code task must
already hold chat markers, since nothing else says where the answer begins."""
