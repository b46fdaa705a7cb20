"""Many short documents in few blocks of one length, none of which sees another.

Knows tokens and lengths. The positions begin anew with each document; given positions and no
padding mask, transformers lets a token attend within its own document only.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import torch

from sweeper.tasks.base import Batch, Feature


def pack(documents: Sequence[Sequence[int]], length: int) -> list[Feature]:
    """Blocks that hold all documents.

    A document that is longer than a block is cut into pieces. Then the longest piece not yet
    placed goes into the fullest block that has room for it (best fit decreasing,
    arXiv:2404.10830).

    Args:
        documents: Token ids, each with its own beginning and end tokens.
        length: Of a block, in tokens.

    Returns:
        Features with ``input_ids``, ``position_ids`` and ``labels``, each at most ``length`` long.
        A piece's first token is no label: nothing of its document stands before it.
    """
    pieces = [
        list(document[start : start + length])
        for document in documents
        for start in range(0, len(document), length)
    ]
    blocks: list[list[list[int]]] = []
    room: list[tuple[int, int]] = []
    for piece in sorted(pieces, key=lambda piece: (-len(piece), piece)):
        place = bisect_left(room, (len(piece), -1))
        if place == len(room):
            blocks.append([])
            left, block = length, len(blocks) - 1
        else:
            left, block = room.pop(place)
        blocks[block].append(piece)
        insort(room, (left - len(piece), block))
    return [_feature(block) for block in blocks]


def _feature(pieces: Sequence[Sequence[int]]) -> Feature:
    return {
        "input_ids": [token for piece in pieces for token in piece],
        "position_ids": [place for piece in pieces for place in range(len(piece))],
        "labels": [token for piece in pieces for token in [-100, *piece[1:]]],
    }


def collate_packed(features: Sequence[Feature], padding: int) -> Batch:
    """One batch of blocks. What fills a block up is a document of its own without labels."""
    longest = max(len(feature["input_ids"]) for feature in features)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "position_ids": [], "labels": []}
    for feature in features:
        gap = longest - len(feature["input_ids"])
        rows["input_ids"].append([*feature["input_ids"], *[padding] * gap])
        rows["position_ids"].append([*feature["position_ids"], *range(gap)])
        rows["labels"].append([*feature["labels"], *[-100] * gap])
    batch = {name: torch.tensor(values) for name, values in rows.items()}
    sizes = [len(feature["input_ids"]) for feature in features]
    return batch | {"real_tokens": torch.tensor(sizes)}
