"""Methods that make a new row from train rows: their prompts, and the parsing of replies.

A reply is a text, or a JSON object with a new question and its answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sweeper.data.examples import Example, Message, input_key
from sweeper.textfiles import json_object

LANGUAGES = ("German", "French", "Spanish", "Chinese", "Arabic", "Hindi")
"""Pivots of back-translation. A row's key chooses the first one; further variants take the next."""

EXAMPLES_SHOWN = 8
"""Rows in the prompt for a synthetic row, as in Self-Instruct (Wang et al. 2022,
arXiv:2212.10560, section 2.2)."""

_TEXT_ALONE = "Reply with the text alone: no introduction, no quotation marks, no explanation."


@dataclass(frozen=True)
class ModelRequest:
    """A request to a model: messages, and the expected number of characters of the reply."""

    messages: tuple[Message, ...]
    expected_characters: int


Ask = Callable[[ModelRequest], Awaitable[str]]
"""Returns the text of a reply, or raises ``NoReply``."""


class NoReply(Exception):
    """There is no usable reply, for the reason in the exception's text."""


@dataclass(frozen=True)
class RowRequest:
    """A request for one new row.

    Args:
        source_rows: The train rows that it is made from; it resembles the first one.
        variant: Index of the new row among those from the same source rows.
    """

    source_rows: tuple[Example, ...]
    variant: int

    @property
    def source_row(self) -> Example:
        return self.source_rows[0]


class Method(ABC):
    """A method to make rows."""

    name: str
    requests_per_row = 1
    """Number of model requests for a new row."""
    keeps_numbers = True
    """Whether a new row must keep the numbers of its source row, for its answer to stay right."""

    def row_requests(self, train: Sequence[Example], rows: int, per_row: int) -> list[RowRequest]:
        """Requests for ``per_row`` new rows from each of the first ``rows`` train rows.

        Train rows are in key order, so these are a random sample.
        """
        chosen = train[:rows]
        return [RowRequest((row,), variant) for row in chosen for variant in range(per_row)]

    @abstractmethod
    def first_request(self, request: RowRequest) -> ModelRequest:
        """The first model request for a row."""

    async def make(self, request: RowRequest, ask: Ask) -> Example:
        """The new row.

        Raises:
            NoReply: There is none, or it does not have the requested form.
        """
        return self.marked(
            rewritten(request.source_row, await ask(self.first_request(request))), request
        )

    def marked(self, example: Example, request: RowRequest) -> Example:
        """The row with the keys of its source rows."""
        keys = tuple(dict.fromkeys(source.key for source in request.source_rows))
        return replace(example, made_from=keys, line=request.source_row.line)


class Paraphrase(Method):
    """The same text in other words, with the same label or answer."""

    name = "paraphrase"

    def first_request(self, request: RowRequest) -> ModelRequest:
        text = subject(request.source_row)
        meaning = (
            f" It belongs to the class {request.source_row.label!r}."
            if request.source_row.label
            else ""
        )
        task = (
            "Rewrite the text in other words. Keep its meaning, its language and every name and "
            f"number.{meaning} {_TEXT_ALONE}"
        )
        if request.variant:
            task += f" This is version {request.variant + 1}: word it differently from the others."
        return _request(task, text, len(text))


class BackTranslation(Method):
    """The text translated into another language and back, with the same label or answer."""

    name = "back-translation"
    requests_per_row = 2

    def first_request(self, request: RowRequest) -> ModelRequest:
        language = LANGUAGES[(int(request.source_row.key, 16) + request.variant) % len(LANGUAGES)]
        text = subject(request.source_row)
        return _request(f"Translate the text into {language}. {_TEXT_ALONE}", text, len(text))

    async def make(self, request: RowRequest, ask: Ask) -> Example:
        translation = (await ask(self.first_request(request))).strip()
        text = subject(request.source_row)
        opening = " ".join(text.split()[:12])
        task = (
            "Translate the text into the language of this example, and keep every name and "
            f"number. Example: {opening!r}. {_TEXT_ALONE}"
        )
        return self.marked(
            rewritten(request.source_row, await ask(_request(task, translation, len(text)))),
            request,
        )


class Synthetic(Method):
    """A new text of the class of some examples, or a new question with its answer."""

    name = "synthetic"
    keeps_numbers = False

    def row_requests(self, train: Sequence[Example], rows: int, per_row: int) -> list[RowRequest]:
        by_label: dict[str | None, list[Example]] = {}
        index_of: dict[Example, int] = {}
        for example in train:
            same_label = by_label.setdefault(example.label, [])
            index_of[example] = len(same_label)
            same_label.append(example)
        row_requests = []
        for row in train[:rows]:
            same_label = by_label[row.label]
            for variant in range(per_row):
                start = index_of[row] + 1 + variant * (EXAMPLES_SHOWN - 1)
                others = [
                    same_label[(start + i) % len(same_label)] for i in range(EXAMPLES_SHOWN - 1)
                ]
                row_requests.append(
                    RowRequest((row, *dict.fromkeys(o for o in others if o != row)), variant)
                )
        return row_requests

    def first_request(self, request: RowRequest) -> ModelRequest:
        source_row = request.source_row
        examples = "\n\n".join(
            f"Example:\n{_question_and_answer(source)}" for source in request.source_rows
        )
        expected_characters = len(_question_and_answer(source_row))
        if source_row.messages:
            task = (
                "Write one new question with its answer, of the same kind as the examples but "
                'about something else. Reply with JSON alone: {"question": "...", "answer": "..."}'
            )
        else:
            class_clause = f" of the class {source_row.label!r}" if source_row.label else ""
            task = (
                f"Write one new text{class_clause} like the examples, about something else. "
                f"Do not repeat an example. {_TEXT_ALONE}"
            )
        return _request(task, examples, expected_characters)

    async def make(self, request: RowRequest, ask: Ask) -> Example:
        reply = await ask(self.first_request(request))
        if not request.source_row.messages:
            return self.marked(rewritten(request.source_row, reply), request)
        begin, end = reply.find("{"), reply.rfind("}")
        try:
            fields = json_object(reply[begin : end + 1])
            question, answer = str(fields["question"]).strip(), str(fields["answer"]).strip()
        except (ValueError, KeyError):
            raise NoReply("the reply is not the requested JSON object") from None
        if not question or not answer:
            raise NoReply("the reply is empty")
        system = [m for m in request.source_row.messages[:1] if m.role == "system"]
        turns = (*system, Message("user", question), Message("assistant", answer))
        row = Example(key=input_key(*(m.content for m in turns[:-1])), line=0, messages=turns)
        return self.marked(row, request)


METHODS: Mapping[str, Method] = {
    method.name: method for method in (Paraphrase(), BackTranslation(), Synthetic())
}


def subject(example: Example) -> str:
    """The text of a row that a model rewrites: its text, or the last question."""
    return example.messages[-2].content if len(example.messages) > 1 else example.text


def rewritten(example: Example, reply: str) -> Example:
    """The row with the reply in place of its ``subject``.

    Raises:
        NoReply: The reply is empty.
    """
    text = _unquoted_text(reply.strip())
    if not text:
        raise NoReply("the reply is empty")
    if not example.messages:
        return replace(example, key=input_key(text), text=text)
    *before, question, answer = example.messages
    turns = (*before, replace(question, content=text), answer)
    return replace(example, key=input_key(*(m.content for m in turns[:-1])), messages=turns)


def _unquoted_text(text: str) -> str:
    for left, right in ('""', "''", "“”", "«»"):
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            return text[1:-1].strip()
    return text


def _question_and_answer(example: Example) -> str:
    if not example.messages:
        return example.text
    return f"Question: {subject(example)}\nAnswer: {example.answer}"


def _request(task: str, text: str, expected_characters: int) -> ModelRequest:
    return ModelRequest((Message("system", task), Message("user", text)), expected_characters)
