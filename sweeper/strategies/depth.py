"""How deep in a model a weight lies, told by its name."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

_NUMBER = re.compile(r"(?:^|\.)(\d+)\.")


def _number(name: str) -> int | None:
    found = _NUMBER.search(name)
    return int(found[1]) if found else None


def layers_above(model: nn.Module) -> Callable[[str], int]:
    """How many layers lie above a weight: 0 in the last layer and in whatever follows it.

    Embeddings lie below all layers. Where a model numbers nothing, all is 0.
    """
    order = [name for name, _ in model.named_parameters()]
    numbers = [number for name in order if (number := _number(name)) is not None]
    count = max(numbers, default=-1) + 1
    first = next((place for place, name in enumerate(order) if _number(name) is not None), 0)
    below = set(order[:first])

    def depth(name: str) -> int:
        number = _number(name)
        if number is not None:
            return count - 1 - number
        return count if name in below else 0

    return depth
