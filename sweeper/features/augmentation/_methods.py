"""The ways to make a new row from rows: what a model is asked, and what its replies become.

A method uses train rows only. Replies are texts, or a JSON object where a question and its answer
are new.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sweeper.data.examples import Example, Message, input_key
from sweeper.jsontext import object_of

LANGUAGES = ("German", "French", "Spanish", "Chinese", "Arabic", "Hindi")
"""Pivots of back-translation. A row's key chooses the first one, and its further variants take the
next ones: each gives another wording."""

SHOWN = 8
"""Rows that are shown to a model for a synthetic one, as in Self-Instruct (Wang et al. 2022,
arXiv:2212.10560, section 2.2)."""

_ONLY = "Reply with the text alone: no introduction, no quotation marks, no explanation."


@dataclass(frozen=True)
class ModelRequest:
    """One question to a model: its messages, and about how many characters it will answer."""

    messages: tuple[Message, ...]
    expected: int


Ask = Callable[[ModelRequest], Awaitable[str]]
"""Gives the text of a reply, or raises ``NoReply``."""


class NoReply(Exception):
    """There is no usable reply, for the reason in its text."""


@dataclass(frozen=True)
class NewRow:
    """One new row to make.

    Args:
        origins: The train rows that it is made from; the first one is the one that it resembles.
        variant: Which of the rows that are made from these, counted from 0.
    """

    origins: tuple[Example, ...]
    variant: int

    @property
    def first(self) -> Example:
        return self.origins[0]


class Method(ABC):
    """One way to make rows."""

    name: str
    requests_per_row = 1
    keeps_numbers = True
    """Whether a number that changes would make the answer wrong."""

    def jobs(self, train: Sequence[Example], rows: int, per_row: int) -> list[NewRow]:
        """The rows to make: ``per_row`` from each of the first ``rows`` train rows in key order,
        which are a random sample."""
        chosen = train[:rows]
        return [NewRow((row,), variant) for row in chosen for variant in range(per_row)]

    @abstractmethod
    def first(self, job: NewRow) -> ModelRequest:
        """The first request of a job."""

    async def make(self, job: NewRow, ask: Ask) -> Example:
        """The new row.

        Raises:
            NoReply: There was none, or it does not have the form that was asked for.
        """
        return self.marked(rewritten(job.first, await ask(self.first(job))), job)

    def marked(self, example: Example, job: NewRow) -> Example:
        """The row with what it was made from."""
        keys = tuple(dict.fromkeys(origin.key for origin in job.origins))
        return replace(example, made_from=keys, line=job.first.line)


class Paraphrase(Method):
    """The same request in other words; label or answer stay."""

    name = "paraphrase"

    def first(self, job: NewRow) -> ModelRequest:
        text = subject(job.first)
        meaning = f" It belongs to the class {job.first.label!r}." if job.first.label else ""
        task = (
            "Rewrite the text in other words. Keep its meaning, its language and every name and "
            f"number.{meaning} {_ONLY}"
        )
        if job.variant:
            task += f" This is version {job.variant + 1}: word it differently from the others."
        return _request(task, text, len(text))


class BackTranslation(Method):
    """The text in another language and back; label or answer stay."""

    name = "back-translation"
    requests_per_row = 2

    def first(self, job: NewRow) -> ModelRequest:
        language = LANGUAGES[(int(job.first.key, 16) + job.variant) % len(LANGUAGES)]
        text = subject(job.first)
        return _request(f"Translate the text into {language}. {_ONLY}", text, len(text))

    async def make(self, job: NewRow, ask: Ask) -> Example:
        there = (await ask(self.first(job))).strip()
        text = subject(job.first)
        opening = " ".join(text.split()[:12])
        task = (
            "Translate the text into the language of this example, and keep every name and "
            f"number. Example: {opening!r}. {_ONLY}"
        )
        return self.marked(rewritten(job.first, await ask(_request(task, there, len(text)))), job)


class Synthetic(Method):
    """A new row like a few others: of the same class, or a question with its answer."""

    name = "synthetic"
    keeps_numbers = False

    def jobs(self, train: Sequence[Example], rows: int, per_row: int) -> list[NewRow]:
        by_label: dict[str | None, list[Example]] = {}
        place_of: dict[Example, int] = {}
        for example in train:
            alike = by_label.setdefault(example.label, [])
            place_of[example] = len(alike)
            alike.append(example)
        jobs = []
        for row in train[:rows]:
            alike = by_label[row.label]
            for variant in range(per_row):
                start = place_of[row] + 1 + variant * (SHOWN - 1)
                others = [alike[(start + i) % len(alike)] for i in range(SHOWN - 1)]
                jobs.append(NewRow((row, *dict.fromkeys(o for o in others if o != row)), variant))
        return jobs

    def first(self, job: NewRow) -> ModelRequest:
        first = job.first
        shown = "\n\n".join(f"Example:\n{_whole(origin)}" for origin in job.origins)
        expected = len(_whole(first))
        if first.messages:
            task = (
                "Write one new question with its answer, of the same kind as the examples but "
                'about something else. Reply with JSON alone: {"question": "...", "answer": "..."}'
            )
        else:
            of = f" of the class {first.label!r}" if first.label else ""
            task = (
                f"Write one new text{of} like the examples, about something else. Do not repeat "
                f"an example. {_ONLY}"
            )
        return _request(task, shown, expected)

    async def make(self, job: NewRow, ask: Ask) -> Example:
        reply = await ask(self.first(job))
        if not job.first.messages:
            return self.marked(rewritten(job.first, reply), job)
        begin, end = reply.find("{"), reply.rfind("}")
        try:
            fields = object_of(reply[begin : end + 1])
            question, answer = str(fields["question"]).strip(), str(fields["answer"]).strip()
        except (ValueError, KeyError):
            raise NoReply("the reply is not the requested JSON object") from None
        if not question or not answer:
            raise NoReply("the reply is empty")
        system = [m for m in job.first.messages[:1] if m.role == "system"]
        turns = (*system, Message("user", question), Message("assistant", answer))
        made = Example(key=input_key(*(m.content for m in turns[:-1])), line=0, messages=turns)
        return self.marked(made, job)


METHODS: Mapping[str, Method] = {
    method.name: method for method in (Paraphrase(), BackTranslation(), Synthetic())
}


def subject(example: Example) -> str:
    """The text of a row that a model rewrites: its text, or the last question."""
    return example.messages[-2].content if len(example.messages) > 1 else example.text


def rewritten(example: Example, reply: str) -> Example:
    """The row with another text in that place.

    Raises:
        NoReply: The reply is empty.
    """
    text = _unquoted(reply.strip())
    if not text:
        raise NoReply("the reply is empty")
    if not example.messages:
        return replace(example, key=input_key(text), text=text)
    *before, asked, answer = example.messages
    turns = (*before, replace(asked, content=text), answer)
    return replace(example, key=input_key(*(m.content for m in turns[:-1])), messages=turns)


def _unquoted(text: str) -> str:
    for left, right in ('""', "''", "“”", "«»"):
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            return text[1:-1].strip()
    return text


def _whole(example: Example) -> str:
    if not example.messages:
        return example.text
    return f"Question: {subject(example)}\nAnswer: {example.answer}"


def _request(task: str, text: str, expected: int) -> ModelRequest:
    return ModelRequest((Message("system", task), Message("user", text)), expected)
