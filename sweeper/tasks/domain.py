"""Domain adaptation: trained on a domain's plain text, or on its questions and answers."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence

from sweeper.data.examples import Example
from sweeper.tasks.fewshot import ZeroShot
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.chat import Encoded, document, split_tokens
from sweeper.tasks.task import Baseline, BaselineContext, Feature


class Domain(Instruction):
    """Training on a domain's questions and answers or, without them, on its plain text."""

    name = "domain"

    def encode_one(self, example: Example) -> Encoded:
        if _is_plain(example):
            return document(self.tokenizer, example.text)
        return super().encode_one(example)

    @property
    def splits_long_texts(self) -> bool:
        return any(_is_plain(example) for example in self.dataset.splits["train"][:1])

    def encode_in_pieces(self, examples: Sequence[Example]) -> list[list[Feature]]:
        """Splits long texts; packs short texts and ends of long ones into shared items.

        An item is listed with the text that it begins with. Texts from different sources share no
        item, so that trained tokens can be counted by source. The end-of-text token separates the
        texts of an item. The model reads the item as one text, since some strategies, such as
        prefix tuning, cannot keep packed texts apart.
        """
        items: list[list[Feature]] = [[] for _ in examples]
        short_pieces: dict[str, list[tuple[int, Sequence[int]]]] = defaultdict(list)
        for number, example in enumerate(examples):
            if not _is_plain(example):
                items[number] = self.encode([example])
                continue
            pieces = split_tokens(self.encode_one(example).ids, self.sequence_length)
            full_pieces = (piece for piece in pieces if len(piece) == self.sequence_length)
            items[number] = [_item([piece]) for piece in full_pieces]
            rest = (piece for piece in pieces if len(piece) < self.sequence_length)
            short_pieces[example.source] += [(number, piece) for piece in rest]
            if len(pieces) > 1:
                items[number][0]["encoding_kinds"] = ("divided",)
        for pieces_of_source in short_pieces.values():
            for block in shared_blocks(
                [len(ids) for _, ids in pieces_of_source], self.sequence_length
            ):
                items[pieces_of_source[block[0]][0]].append(
                    _item([pieces_of_source[piece][1] for piece in block])
                )
        return items

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        if any(example.messages for example in self.dataset.splits["train"]):
            return super().baselines(context)
        return (ZeroShot(self, context),)


def _item(pieces: Sequence[Sequence[int]]) -> Feature:
    """A training item of several pieces; ``answer_bytes`` is 0, since nothing is scored on it."""
    block = pack_pieces(pieces)
    return {"input_ids": block["input_ids"], "labels": block["labels"], "answer_bytes": 0}


def _is_plain(example: Example) -> bool:
    return not example.messages and not example.templated


def shared_blocks(lengths: Sequence[int], block_length: int) -> list[list[int]]:
    """Indices of the pieces in each block of at most ``block_length`` tokens (best-fit packing)."""
    blocks: list[list[int]] = []
    open_blocks: list[tuple[int, int]] = []  # (free tokens, index of the block), ascending
    for number, size in sorted(enumerate(lengths), key=lambda piece: (-piece[1], piece[0])):
        fullest = bisect_left(open_blocks, (size, -1))
        if fullest == len(open_blocks):
            blocks.append([])
            free_tokens, block = block_length, len(blocks) - 1
        else:
            free_tokens, block = open_blocks.pop(fullest)
        blocks[block].append(number)
        insort(open_blocks, (free_tokens - size, block))
    return blocks


def pack_pieces(pieces: Sequence[Sequence[int]]) -> Feature:
    """One item of several pieces. Positions restart with each, whose first token is not a label."""
    return {
        "input_ids": [token for piece in pieces for token in piece],
        "position_ids": [position for piece in pieces for position in range(len(piece))],
        "labels": [token for piece in pieces for token in [-100, *piece[1:]]],
    }
