"""Conversations as tokens, with the tokens that are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from jinja2.exceptions import TemplateError

from sweeper.data.examples import Message
from sweeper.data.tools import PROBE, PROBED, as_text, for_template, spelled
from sweeper.errors import DataError
from sweeper.facts.models.fallback_template import fallback
from sweeper.tasks.sequences.tokens import Answers, Encoded, added_tokens, tokenise

# Some templates write today's date into the prompt; a trial must read tomorrow what it read today.
_FIXED_DATE = "{% macro strftime_now(format) %}1 January 2025{% endmacro %}"
_PROBE = (Message("user", "probe question"), Message("assistant", "probe answer"))


@dataclass(frozen=True)
class Written:
    """A conversation as text.

    Args:
        text: All of it, with the template's markers.
        answers: ``(start, end)`` in characters of what the assistant says, end-of-turn included.
        rewritten: Assistant turns that are not trained on, since the template writes them
            otherwise once more turns follow (some leave out earlier reasoning).
    """

    text: str
    answers: Answers
    rewritten: int = 0


def _fallback(tokenizer: Any) -> str:
    tokens = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    return fallback(tokens, tokenizer.bos_token, tokenizer.eos_token).template


class Chat:
    """The conversation format of one tokenizer, with or without a chat template.

    ``system_prompt`` opens every conversation that has no system message of its own.
    """

    def __init__(self, tokenizer: Any, system_prompt: str | None = None) -> None:
        self.tokenizer = tokenizer
        self.system_prompt = system_prompt
        self.has_template = bool(tokenizer.chat_template)
        template = tokenizer.get_chat_template() if self.has_template else _fallback(tokenizer)
        self.template = _FIXED_DATE + template if "strftime_now" in template else template
        """The Jinja template of conversations, with its date fixed."""
        self._added = added_tokens(tokenizer)
        self._takes_system = self._shows_system()
        self.end_of_turn = self._end_of_turn()

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """Ids that end an answer when the model generates."""
        ends = self._ids(self.end_of_turn)[-1:]
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*ends, *([] if eos is None else [eos])]))

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Tokens of a whole conversation; trained on are the assistant's turns of weight 1.

        Raises:
            DataError: The template refuses the conversation, or nobody answers in it.
        """
        written = self.write(messages)
        return tokenise(self.tokenizer, written.text, written.answers, written.rewritten)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Tokens up to the start of the assistant's turn: the prompt."""
        return self._ids(self._render(self._prepared(messages), open_turn=True))

    def opening(self) -> list[int]:
        """Tokens up to the start of a user's turn, from which a model generates a question."""
        text = self._render(self._prepared(_PROBE[:1]))
        return self._ids(text[: text.find(_PROBE[0].content)])

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def write(self, messages: Sequence[Message]) -> Written:
        """A conversation as text, with the places of the assistant's turns in it."""
        turns = self._prepared(messages)
        if not turns or turns[-1].role != "assistant":
            raise DataError("a conversation does not end with the assistant's answer")
        text = self._render(turns)
        answers: list[tuple[int, int]] = []
        for number, turn in enumerate(turns):
            if turn.role == "assistant" and turn.trained and number > 0:
                span = self._place(text, turns, number)
                if span is None and turn is turns[-1]:
                    return self._write_last_by_hand(turns)
                answers += [span] if span else []
        if not answers:
            raise DataError("a conversation holds an answer but no question")
        rewritten = _trained_turns(turns) - len(answers)
        return Written(self._closed(text, answers), tuple(answers), rewritten)

    def _place(self, text: str, turns: Sequence[Message], number: int) -> tuple[int, int] | None:
        """The position of one assistant turn in the text; None if the template rewrites it."""
        before = self._render(turns[:number], open_turn=True)
        last = number + 1 == len(turns)
        through = text if last else self._render(turns[: number + 1])
        if not (through.startswith(before) and text.startswith(through.rstrip())):
            return None
        content = turns[number].content.strip()
        start = text.find(content, len(before), len(through))
        if start < 0:
            return None
        end = start + len(content)
        if turns[number].more:  # calls stand after the text, and may hold added tokens
            closed = through.rfind(self.end_of_turn.strip(), end)
            ended = closed + len(self.end_of_turn.strip()) if closed >= 0 else len(through.rstrip())
            return len(before), ended
        closing = self._added.search(text, end, len(through)) if self._added else None
        return len(before), closing.end() if closing else end

    def _closed(self, text: str, answers: list[tuple[int, int]]) -> str:
        """The text up to the last answer's end, with an end-of-turn token if it has none."""
        start, end = answers[-1]
        kept = text[:end]
        if self.end_of_turn and not kept.endswith(self.end_of_turn.strip()):
            kept += self.end_of_turn
            answers[-1] = (start, len(kept))
        return kept

    def _write_last_by_hand(self, turns: Sequence[Message]) -> Written:
        """Prompt as the template opens it, then the answer: for templates that rewrite even this.

        Only the last answer is trained on: earlier ones stand there as the template wrote them.
        """
        before = self._render(turns[:-1], open_turn=True)
        text = before + spelled(turns[-1]) + self.end_of_turn
        return Written(text, ((len(before), len(text)),), _trained_turns(turns) - 1)

    def _render(self, turns: Sequence[Message], open_turn: bool = False) -> str:
        rows, tools = for_template(turns)
        try:
            text: str = self.tokenizer.apply_chat_template(
                rows,
                tools=tools or None,
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=open_turn,
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise DataError(
                f"the model's chat template refuses a conversation: {error}",
                why=f"Its turns are: {', '.join(turn.role for turn in turns)}.",
                fix="Let user and assistant take turns, beginning with the user.",
            ) from error
        return text

    def _prepared(self, messages: Sequence[Message]) -> list[Message]:
        """The turns in a form that the template accepts: system prompt moved, turns merged."""
        turns = list(messages)
        if self.system_prompt and not any(turn.role == "system" for turn in turns):
            turns.insert(0, Message("system", self.system_prompt))
        elif self.system_prompt and turns[0].role == "system" and not turns[0].content:
            turns[0] = replace(turns[0], content=self.system_prompt)
        if any(turn.more or turn.role == "tool" for turn in turns) and not self.writes_tools:
            turns = as_text(turns)
        if not self._takes_system:
            turns = _system_into_user(turns)
        eos = self.tokenizer.eos_token or ""
        return [
            replace(turn, content=_without_end(turn.content, self.end_of_turn, eos))
            if turn.role == "assistant"
            else turn
            for turn in _merged(turns)
        ]

    def _shows_system(self) -> bool:
        marker = "probe system"
        try:
            return marker in self._render([Message("system", marker), *_PROBE])
        except DataError:
            return False

    @cached_property
    def writes_tools(self) -> bool:
        """Whether the template writes tools, their calls and what they return."""
        try:
            text = self._render(PROBE)
        except DataError:
            return False
        return all(mark in text for mark in PROBED)

    def _end_of_turn(self) -> str:
        """What the template writes after an answer, up to and with its first special token."""
        text = self._render(_PROBE)
        rest = text[text.rfind(_PROBE[1].content) + len(_PROBE[1].content) :]
        closing = self._added.search(rest) if self._added else None
        return rest[: closing.end()] if closing else self.tokenizer.eos_token or ""


def _trained_turns(turns: Sequence[Message]) -> int:
    return sum(turn.role == "assistant" and turn.trained for turn in turns)


def _merged(turns: Sequence[Message]) -> list[Message]:
    """Neighbouring turns of one role as one, since most templates demand that roles alternate."""
    merged: list[Message] = []
    for turn in turns:
        alike = merged and merged[-1].role == turn.role != "tool"
        if alike and not merged[-1].more and not turn.more:
            merged[-1] = replace(turn, content=f"{merged[-1].content}\n\n{turn.content}")
        else:
            merged.append(turn)
    return merged


def _system_into_user(turns: Sequence[Message]) -> list[Message]:
    """System messages put in front of the next user turn, for templates that know no system."""
    moved: list[Message] = []
    waiting: list[str] = []
    for turn in turns:
        if turn.role == "system":
            waiting += [turn.content] if turn.content else []
            moved += [replace(turn, content="")] if turn.more else []
        elif turn.role == "user" and waiting:
            moved.append(Message("user", "\n\n".join([*waiting, turn.content])))
            waiting = []
        else:
            moved.append(turn)
    return moved


def _without_end(content: str, *ends: str) -> str:
    """An answer without an end marker from its source."""
    for end in ends:
        if end and content.rstrip().endswith(end):
            return content.rstrip().removesuffix(end)
    return content
