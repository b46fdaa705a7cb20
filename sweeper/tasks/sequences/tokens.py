"""Text with marked answers to tokens with marked answers, and its shortening to a cap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

Answers = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Encoded:
    """Tokens, and which of them are trained on.

    Args:
        answers: ``(start, end)`` in tokens, in order; the last one is the final answer.
        rewritten: Answers that are not among ``answers``, since their text is not what the model
            would have said.
        answer_bytes: UTF-8 bytes of each answer's text, without end-of-turn markers.
    """

    ids: list[int]
    answers: Answers
    rewritten: int = 0
    answer_bytes: tuple[int, ...] = ()

    def labels(self) -> list[int]:
        """``ids`` where the token is part of an answer, else -100. The first is never trained."""
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

    The prompt's tokens are those that the prompt alone has, since that is what a model is asked
    with; where the whole text's tokenisation would join prompt and answer into one token, the
    parts are tokenised one by one.

    Args:
        tokenizer: Adds nothing of its own here, so that no special token is doubled.
        text: With all markers.
        answers: ``(start, end)`` in characters, in order, not overlapping.
    """
    cuts = [cut for answer in answers for cut in answer]
    heads = [text[:cut] for cut in cuts if cut < len(text)]
    whole, *parts = tokenizer([text, *heads], add_special_tokens=False)["input_ids"]
    # The last answer usually ends the text.
    parts += [whole] * (len(cuts) - len(parts))
    if all(whole[: len(part)] == part for part in parts):
        places = [len(part) for part in parts]
    else:
        whole, places = _apart(tokenizer, text, cuts, whole, parts)
    spans = tuple(zip(places[::2], places[1::2], strict=True))
    answer_sizes = tuple(_said_bytes(tokenizer, text[start:end]) for start, end in answers)
    return Encoded(whole, spans, rewritten, answer_sizes)


def _said_bytes(tokenizer: Any, answer: str) -> int:
    """UTF-8 bytes of an answer without markers: the same under every model's template."""
    markers = added_tokens(tokenizer)
    return len((markers.sub("", answer) if markers else answer).strip().encode())


def completed(encoded: Encoded, tokenizer: Any) -> Encoded:
    """The same with BOS in front, where this tokenizer puts one, and an end after the last answer.

    For texts that no chat template of this tokenizer wrote. What is there is not added again.
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
    """A plain text, all of which is to be learnt, with BOS and EOS as this tokenizer has them."""
    return completed(tokenise(tokenizer, text, ((0, len(text)),)), tokenizer)


def pieces_of(ids: Sequence[int], length: int) -> list[Sequence[int]]:
    """All tokens of a document in pieces of at most ``length``.

    >>> pieces_of([1, 2, 3, 4, 5], 2)
    [[1, 2], [3, 4], [5]]
    """
    return [ids[start : start + length] for start in range(0, len(ids), length)]


def _apart(
    tokenizer: Any, text: str, cuts: Sequence[int], whole: list[int], parts: list[list[int]]
) -> tuple[list[int], list[int]]:
    """Tokens of the pieces between the cuts, if together they still spell the text.

    Tokenizers that put a space in front of every text cannot be used piece by piece. For them a
    token that reaches over a cut counts as part of what follows it.
    """
    edges = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    encoded = [
        tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else [] for piece in pieces
    ]
    joined = [token for ids in encoded for token in ids]
    if tokenizer.decode(joined, clean_up_tokenization_spaces=False) == text:
        places = [sum(map(len, encoded[: number + 1])) for number in range(len(cuts))]
        return joined, places
    return whole, [_common(whole, part) for part in parts]


def _common(first: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences share at the front."""
    pairs = zip(first, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(other)))


def shorten(encoded: Encoded, cap: int, bos: int | None) -> Encoded | None:
    """The same, at most ``cap`` tokens long: the prompt loses its left end, the answer nothing.

    A leading BOS token stays. Earlier answers that would be cut into are no longer trained on.

    Returns:
        None if the last answer alone, with one token to predict it from, is longer than the cap.
    """
    over = len(encoded.ids) - cap
    if over <= 0:
        return encoded
    if encoded.answers[-1][0] - over < 1:
        return None
    keep = int(bos is not None and encoded.ids[:1] == [bos])
    cut = keep + over
    lost = sum(start < cut for start, _ in encoded.answers)
    return replace(
        encoded,
        ids=encoded.ids[:keep] + encoded.ids[cut:],
        answers=tuple((start - over, end - over) for start, end in encoded.answers[lost:]),
        answer_bytes=encoded.answer_bytes[lost:],
    )
