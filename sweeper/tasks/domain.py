"""Domain adaptation: learns the plain text of a domain, or its questions and answers."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence

from sweeper.data.examples import Example
from sweeper.tasks.fewshot import ZeroShot
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.chat import Encoded, document, pieces_of
from sweeper.tasks.task import Baseline, BaselineContext, Feature


class Domain(Instruction):
    """Questions and answers of the domain; where there are none, its plain text."""

    name = "domain"

    def encode_one(self, example: Example) -> Encoded:
        if _is_plain(example):
            return document(self.tokenizer, example.text)
        return super().encode_one(example)

    @property
    def divides(self) -> bool:
        return any(_is_plain(example) for example in self.dataset.splits["train"][:1])

    def divided(self, examples: Sequence[Example]) -> list[list[Feature]]:
        """Long texts in several items, and short ones and what is left of long ones in shared ones.

        An item belongs to its first text. Texts of different origin share none, so that what was
        seen of each can be counted. The end-of-text token lies between texts. An item is one text
        for a model, since not every strategy (prefixes, for example) can read texts apart.
        """
        items: list[list[Feature]] = [[] for _ in examples]
        rests: dict[str, list[tuple[int, Sequence[int]]]] = defaultdict(list)
        for number, example in enumerate(examples):
            if not _is_plain(example):
                items[number] = self.encode([example])
                continue
            pieces = pieces_of(self.encode_one(example).ids, self.sequence_length)
            whole = (piece for piece in pieces if len(piece) == self.sequence_length)
            items[number] = [_item([piece]) for piece in whole]
            shorter = (piece for piece in pieces if len(piece) < self.sequence_length)
            rests[example.source] += [(number, piece) for piece in shorter]
            if len(pieces) > 1:
                items[number][0]["encoding_kinds"] = ("divided",)
        for rest in rests.values():
            for block in shared_blocks([len(ids) for _, ids in rest], self.sequence_length):
                items[rest[block[0]][0]].append(_item([rest[piece][1] for piece in block]))
        return items

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        if any(example.messages for example in self.dataset.splits["train"]):
            return super().baselines(context)
        return (ZeroShot(self, context),)


def _item(pieces: Sequence[Sequence[int]]) -> Feature:
    """The first token of a piece is read and not learnt: nothing of its text stands before it."""
    block = packed(pieces)
    return {"input_ids": block["input_ids"], "labels": block["labels"], "answer_bytes": 0}


def _is_plain(example: Example) -> bool:
    return not example.messages and not example.templated


def shared_blocks(lengths: Sequence[int], length: int) -> list[list[int]]:
    """Places of pieces that share a block, none of them longer than ``length``."""
    blocks: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for number, size in sorted(enumerate(lengths), key=lambda piece: (-piece[1], piece[0])):
        fullest = bisect_left(room, (size, -1))
        if fullest == len(room):
            blocks.append([])
            left, block = length, len(blocks) - 1
        else:
            left, block = room.pop(fullest)
        blocks[block].append(number)
        insort(room, (left - size, block))
    return blocks


def packed(pieces: Sequence[Sequence[int]]) -> Feature:
    """A block of pieces, with positions that begin anew in each."""
    return {
        "input_ids": [token for piece in pieces for token in piece],
        "position_ids": [position for piece in pieces for position in range(len(piece))],
        "labels": [token for piece in pieces for token in [-100, *piece[1:]]],
    }
