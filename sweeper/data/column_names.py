"""The column names that data sets in the wild use, by the role that the column plays.

Names are compared in lower case. Earlier names win over later ones.

Source: the loaders of Axolotl, LLaMA-Factory, TRL, torchtune and litgpt, and the data sets of
MBPP, HumanEval and OpenOrca, whose column names these are.
"""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal[
    "text",
    "text_pair",
    "label",
    "label_text",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "prompt",
    "completion",
    "messages",
    "tests",
]
"""What a column is for. ``DataSpec.columns`` maps these to columns."""

ROLES: tuple[Role, ...] = get_args(Role)

LABEL = ("label", "labels", "target", "class", "category", "intent", "sentiment")
LABEL_TEXT = ("label_text", "label_name", "class_name")

CLASSIFIED_TEXT = ("text", "sentence", "review", "content", "question", "query", "utterance")
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("title", "body"),
    ("question", "sentence"),
    ("text1", "text2"),
)
PLAIN_TEXT = ("text", "content", "body", "document", "code")

INSTRUCTION_OUTPUT = ("output", "response", "answer", "completion")
INSTRUCTION_INPUT = ("input", "context", "article")
CONTEXT = ("context", "article", "contexts", "passage")
SYSTEM = ("system", "system_prompt")
HISTORY = ("history",)

PROMPT_COMPLETION = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "canonical_solution"),
    ("prompt", "code"),
    ("prompt", "output"),
    ("prompt", "answer"),
    ("input", "output"),
    ("question", "answer"),
    ("question", "response"),
    ("source", "target"),
    ("query", "response"),
    ("query", "answer"),
    ("docstring", "code"),
    ("text", "code"),
)

CONVERSATION = ("messages", "conversations", "conversation", "chat", "texts")
TESTS = ("test_list", "test")

PREFERENCE = ("chosen", "rejected")
UNPAIRED_PREFERENCE = ("kto_tag",)

KNOWN: frozenset[str] = frozenset(
    [
        *LABEL,
        *LABEL_TEXT,
        *CLASSIFIED_TEXT,
        *PLAIN_TEXT,
        *INSTRUCTION_OUTPUT,
        *INSTRUCTION_INPUT,
        *CONTEXT,
        *SYSTEM,
        *HISTORY,
        *CONVERSATION,
        *TESTS,
        *PREFERENCE,
        "instruction",
        "id",
        *(name for pair in PAIRS for name in pair),
        *(name for pair in PROMPT_COMPLETION for name in pair),
    ]
)
"""Every name above: a first line that holds one of them is a header."""
