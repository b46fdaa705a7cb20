"""Conversations and texts as tokens within a length limit, with the spans that are trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from jinja2.exceptions import TemplateError

from sweeper.data.examples import Message
from sweeper.data.tools import PROBE, PROBE_TEXTS, as_text, for_template, text_with_calls
from sweeper.errors import DataError
from sweeper.facts.models.chat_template import fallback

Answers = tuple[tuple[int, int], ...]
"""``(start, end)`` of each answer, in characters of a text or in tokens."""


@dataclass(frozen=True)
class Encoded:
    """Tokens, and which of them are trained on.

    Args:
        answers: ``(start, end)`` in tokens, in order; the last one is the final answer.
        rewritten: Number of answers that are not in ``answers``, since the chat template changes
            their text.
        answer_bytes: UTF-8 bytes of each answer's text, without end-of-turn markers.
    """

    ids: list[int]
    answers: Answers
    rewritten: int = 0
    answer_bytes: tuple[int, ...] = ()

    def labels(self) -> list[int]:
        """``ids`` of answer tokens, else -100; always -100 for the first token."""
        labels = [-100] * len(self.ids)
        for start, end in self.answers:
            labels[max(start, 1) : end] = self.ids[max(start, 1) : end]
        return labels


@lru_cache(maxsize=8)
def added_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    """A pattern that finds any special or added token of this tokenizer in a text."""
    contents = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    contents |= set(tokenizer.all_special_tokens)
    longest_first = sorted(filter(str.strip, contents), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def tokenise(tokenizer: Any, text: str, answers: Answers, rewritten: int = 0) -> Encoded:
    """Tokenise a text that already holds all its special tokens.

    The prompt gets the same tokens as in generation, without an answer. If the tokenizer joins the
    end of a prompt and the start of an answer into one token, both are tokenised separately.

    Args:
        tokenizer: Called without special tokens, so that none is doubled.
        text: The text with all markers.
        answers: ``(start, end)`` in characters, in order, not overlapping.
    """
    cuts = [cut for answer in answers for cut in answer]
    beginnings = [text[:cut] for cut in cuts if cut < len(text)]
    ids, *parts = tokenizer([text, *beginnings], add_special_tokens=False)["input_ids"]
    # The last answer usually ends the text.
    parts += [ids] * (len(cuts) - len(parts))
    if all(ids[: len(part)] == part for part in parts):
        token_cuts = [len(part) for part in parts]
    else:
        ids, token_cuts = _tokenise_pieces(tokenizer, text, cuts, ids, parts)
    spans = tuple(zip(token_cuts[::2], token_cuts[1::2], strict=True))
    # Markers are not counted, so that sizes do not depend on the template.
    markers, texts = added_tokens(tokenizer), [text[start:end] for start, end in answers]
    texts = [markers.sub("", answer) for answer in texts] if markers else texts
    answer_sizes = tuple(len(answer.strip().encode()) for answer in texts)
    return Encoded(ids, spans, rewritten, answer_sizes)


def with_bos_and_eos(encoded: Encoded, tokenizer: Any) -> Encoded:
    """``encoded`` with BOS, if this tokenizer adds one, and an end token after the last answer.

    For texts without this tokenizer's chat template. Tokens that are present are not added again.
    """
    ids, answers = encoded.ids, encoded.answers
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if ids[-1:] and eos is not None and ids[-1] not in tokenizer.added_tokens_decoder:
        ids = [*ids, eos]
        answers = (*answers[:-1], (answers[-1][0], len(ids)))
    if bos is not None and ids[:1] != [bos] and tokenizer("a")["input_ids"][:1] == [bos]:
        ids = [bos, *ids]
        answers = tuple((start + 1, end + 1) for start, end in answers)
    return replace(encoded, ids=ids, answers=answers)


def document(tokenizer: Any, text: str) -> Encoded:
    """A plain text, all of which is trained on, with the tokenizer's BOS and EOS."""
    return with_bos_and_eos(tokenise(tokenizer, text, ((0, len(text)),)), tokenizer)


def split_tokens(ids: Sequence[int], length: int) -> list[Sequence[int]]:
    """The tokens of a document in pieces of at most ``length`` tokens.

    >>> split_tokens([1, 2, 3, 4, 5], 2)
    [[1, 2], [3, 4], [5]]
    """
    return [ids[start : start + length] for start in range(0, len(ids), length)]


def _tokenise_pieces(
    tokenizer: Any, text: str, cuts: Sequence[int], ids_of_text: list[int], parts: list[list[int]]
) -> tuple[list[int], list[int]]:
    """The tokens of the pieces between the cuts, and the token index of each cut.

    Tokenizers that put a space before every text cannot be used piece by piece. For them,
    ``ids_of_text`` is kept, and a token across a cut belongs to the piece after it.
    """
    edges = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    encoded = [
        tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else [] for piece in pieces
    ]
    tokens = [token for ids in encoded for token in ids]
    if tokenizer.decode(tokens, clean_up_tokenization_spaces=False) == text:
        ends = [sum(map(len, encoded[: number + 1])) for number in range(len(cuts))]
        return tokens, ends
    return ids_of_text, [_common_length(ids_of_text, part) for part in parts]


def _common_length(first: Sequence[int], other: Sequence[int]) -> int:
    """The number of equal tokens at the beginning of two sequences."""
    pairs = zip(first, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(other)))


def shorten(encoded: Encoded, cap: int, bos: int | None) -> Encoded | None:
    """``encoded`` with at most ``cap`` tokens: its prompt is cut on the left.

    A leading BOS token stays. Earlier answers that are cut are no longer trained on.

    Returns:
        None if the last answer and one token before it exceed the cap.
    """
    surplus = len(encoded.ids) - cap
    if surplus <= 0:
        return encoded
    if encoded.answers[-1][0] - surplus < 1:
        return None
    bos_length = int(bos is not None and encoded.ids[:1] == [bos])
    cut = bos_length + surplus
    cut_answers = sum(start < cut for start, _ in encoded.answers)
    return replace(
        encoded,
        ids=encoded.ids[:bos_length] + encoded.ids[cut:],
        answers=tuple(
            (start - surplus, end - surplus) for start, end in encoded.answers[cut_answers:]
        ),
        answer_bytes=encoded.answer_bytes[cut_answers:],
    )


# Some templates call this for today's date; a trial must have the same prompts every day.
_FIXED_DATE = "{% macro strftime_now(format) %}1 January 2025{% endmacro %}"
# A conversation that is rendered to learn how the template writes turns.
_SAMPLE = (Message("user", "probe question"), Message("assistant", "probe answer"))


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text.

    Args:
        text: The whole conversation with the template's markers.
        answers: ``(start, end)`` in characters of the assistant's answers, end-of-turn included.
        rewritten: Number of assistant turns that are not trained on, since the template changes
            them when more turns follow (some leave out earlier reasoning).
    """

    text: str
    answers: Answers
    rewritten: int = 0


def _fallback(tokenizer: Any) -> str:
    """The chat template for a tokenizer without one."""
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
        """The Jinja template of conversations, with a fixed date."""
        self._added_tokens = added_tokens(tokenizer)
        marker = "probe system"
        self._has_system_role = self._writes([Message("system", marker), *_SAMPLE], marker)
        self.end_of_turn = self._end_of_turn()

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """Ids of the tokens that end a generated answer."""
        end_ids = self._ids(self.end_of_turn)[-1:]
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*end_ids, *([] if eos is None else [eos])]))

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Tokens of a whole conversation; answers are the assistant's turns that are ``trained``.

        Raises:
            DataError: The template refuses the conversation, or it has no answer.
        """
        rendered = self.write(messages)
        return tokenise(self.tokenizer, rendered.text, rendered.answers, rendered.rewritten)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the prompt: up to the start of the assistant's turn."""
        return self._ids(self._render(self._turns_for_template(messages), open_turn=True))

    def opening(self) -> list[int]:
        """Tokens up to the start of a user's turn, from which a model generates a question."""
        text = self._render(self._turns_for_template(_SAMPLE[:1]))
        return self._ids(text[: text.find(_SAMPLE[0].content)])

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def write(self, messages: Sequence[Message]) -> RenderedChat:
        """A conversation as text, with the positions of the assistant's turns."""
        turns = self._turns_for_template(messages)
        if not turns or turns[-1].role != "assistant":
            raise DataError("a conversation does not end with the assistant's answer")
        text = self._render(turns)
        answers: list[tuple[int, int]] = []
        for number, turn in enumerate(turns):
            if turn.role == "assistant" and turn.trained and number > 0:
                span = self._span_of_answer(text, turns, number)
                if span is None and turn is turns[-1]:
                    return self._with_unchanged_last_answer(turns)
                answers += [span] if span else []
        if not answers:
            raise DataError("a conversation has an answer but no question")
        rewritten = _trained_turns(turns) - len(answers)
        start, end = answers[-1]
        text = text[:end]
        if self.end_of_turn and not text.endswith(self.end_of_turn.strip()):
            text += self.end_of_turn
            answers[-1] = (start, len(text))
        return RenderedChat(text, tuple(answers), rewritten)

    def _span_of_answer(
        self, text: str, turns: Sequence[Message], number: int
    ) -> tuple[int, int] | None:
        """``(start, end)`` of one assistant turn in the text; None if the template rewrites it."""
        prompt = self._render(turns[:number], open_turn=True)
        is_last = number + 1 == len(turns)
        rendered = text if is_last else self._render(turns[: number + 1])
        if not (rendered.startswith(prompt) and text.startswith(rendered.rstrip())):
            return None
        content = turns[number].content.strip()
        start = text.find(content, len(prompt), len(rendered))
        if start < 0:
            return None
        end = start + len(content)
        if turns[number].more:  # tool calls follow the text, and may hold added tokens
            marker = self.end_of_turn.strip()
            position = rendered.rfind(marker, end)
            return len(prompt), position + len(marker) if position >= 0 else len(rendered.rstrip())
        marker_match = (
            self._added_tokens.search(text, end, len(rendered)) if self._added_tokens else None
        )
        return len(prompt), marker_match.end() if marker_match else end

    def _with_unchanged_last_answer(self, turns: Sequence[Message]) -> RenderedChat:
        """The template's prompt and the unchanged answer, if the template rewrites the last answer.

        Only the last answer is trained on: the template has changed earlier ones.
        """
        prompt = self._render(turns[:-1], open_turn=True)
        text = prompt + text_with_calls(turns[-1]) + self.end_of_turn
        return RenderedChat(text, ((len(prompt), len(text)),), _trained_turns(turns) - 1)

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

    def _turns_for_template(self, messages: Sequence[Message]) -> list[Message]:
        """The turns as the template accepts them.

        The system prompt is added or moved, tool calls become text, turns are merged, and end
        markers of the data are removed.
        """
        turns = list(messages)
        if self.system_prompt and not any(turn.role == "system" for turn in turns):
            turns.insert(0, Message("system", self.system_prompt))
        elif self.system_prompt and turns[0].role == "system" and not turns[0].content:
            turns[0] = replace(turns[0], content=self.system_prompt)
        if any(turn.more or turn.role == "tool" for turn in turns) and not self.writes_tools:
            turns = as_text(turns)
        if not self._has_system_role:
            turns = _system_into_user(turns)
        eos = self.tokenizer.eos_token or ""
        return [
            replace(turn, content=_without_end_marker(turn.content, self.end_of_turn, eos))
            if turn.role == "assistant"
            else turn
            for turn in _merge_roles(turns)
        ]

    def _writes(self, turns: Sequence[Message], *parts: str) -> bool:
        """Whether the template takes a conversation and writes these parts of it."""
        try:
            text = self._render(turns)
        except DataError:
            return False
        return all(part in text for part in parts)

    @cached_property
    def writes_tools(self) -> bool:
        """Whether the template writes tools, their calls and their results."""
        return self._writes(PROBE, *PROBE_TEXTS)

    def _end_of_turn(self) -> str:
        """What the template writes after an answer, up to and with the first special token."""
        text = self._render(_SAMPLE)
        rest = text[text.rfind(_SAMPLE[1].content) + len(_SAMPLE[1].content) :]
        marker = self._added_tokens.search(rest) if self._added_tokens else None
        return rest[: marker.end()] if marker else self.tokenizer.eos_token or ""


def _trained_turns(turns: Sequence[Message]) -> int:
    return sum(turn.role == "assistant" and turn.trained for turn in turns)


def _merge_roles(turns: Sequence[Message]) -> list[Message]:
    """The turns with neighbours of one role merged: most templates require alternating roles."""
    merged: list[Message] = []
    for turn in turns:
        has_same_role = merged and merged[-1].role == turn.role != "tool"
        if has_same_role and not merged[-1].more and not turn.more:
            merged[-1] = replace(turn, content=f"{merged[-1].content}\n\n{turn.content}")
        else:
            merged.append(turn)
    return merged


def _system_into_user(turns: Sequence[Message]) -> list[Message]:
    """The turns with system messages moved into the next user turn, for templates without them."""
    result: list[Message] = []
    system_texts: list[str] = []
    for turn in turns:
        if turn.role == "system":
            system_texts += [turn.content] if turn.content else []
            result += [replace(turn, content="")] if turn.more else []
        elif turn.role == "user" and system_texts:
            result.append(Message("user", "\n\n".join([*system_texts, turn.content])))
            system_texts = []
        else:
            result.append(turn)
    return result


def _without_end_marker(content: str, *ends: str) -> str:
    """An answer without the end marker that the data added, if that is one of ``ends``."""
    for end in ends:
        if end and content.rstrip().endswith(end):
            return content.rstrip().removesuffix(end)
    return content
