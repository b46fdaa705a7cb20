"""Pieces of texts that share a block of tokens."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from sweeper.tasks.base import Feature


def shared_blocks(lengths: Sequence[int], length: int) -> list[list[int]]:
    """Places of pieces that share a block, none of them longer than ``length``."""
    blocks: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for place, size in sorted(enumerate(lengths), key=lambda piece: (-piece[1], piece[0])):
        fullest = bisect_left(room, (size, -1))
        if fullest == len(room):
            blocks.append([])
            left, block = length, len(blocks) - 1
        else:
            left, block = room.pop(fullest)
        blocks[block].append(place)
        insort(room, (left - size, block))
    return blocks


def packed(pieces: Sequence[Sequence[int]]) -> Feature:
    """A block of pieces, with positions that begin anew in each."""
    return {
        "input_ids": [token for piece in pieces for token in piece],
        "position_ids": [place for piece in pieces for place in range(len(piece))],
        "labels": [token for piece in pieces for token in [-100, *piece[1:]]],
    }
