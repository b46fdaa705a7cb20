"""A symbolic autograd tape: which tensors a block keeps for its backward pass, in bytes a token.

Follows PyTorch's rules for what an operation saves and how gradients accumulate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


class Value:
    """A tensor of ``elements`` numbers a token, ``item`` bytes each; compared by identity.

    ``size`` is in bytes a token.
    """

    __slots__ = ("elements", "item", "size")

    def __init__(self, elements: float, item: float) -> None:
        self.elements = elements
        self.item = item
        self.size = elements * item


@dataclass(frozen=True, slots=True)
class _Operation:
    outputs: Sequence[Value]
    inputs: Sequence[Value]
    saves: Sequence[Value]
    workspace: float
    aliases: bool
    holds: Sequence[Value]


class Tape:
    """Operations in forward order, each with what it saves for the backward pass."""

    def __init__(self) -> None:
        self._operations: list[_Operation] = []

    def record(
        self,
        outputs: Sequence[Value],
        inputs: Sequence[Value],
        saves: Sequence[Value] = (),
        workspace: float = 0.0,
        aliases: bool = False,
        holds: Sequence[Value] = (),
    ) -> None:
        """Adds one operation.

        Args:
            inputs: What gradients flow to.
            saves: What it keeps for its backward pass; kept once however often it is named.
            workspace: Bytes a token that its backward needs for itself alone.
            aliases: The gradient of every input is the gradient of the output itself (a sum, a
                view), so that no memory is taken for it.
            holds: What the caller still has in hand while the operation runs.
        """
        self._operations.append(_Operation(outputs, inputs, saves, workspace, aliases, holds))

    def kept(self) -> float:
        """Bytes a token that live from the end of the forward to the backward pass."""
        unique = {value for operation in self._operations for value in operation.saves}
        return sum(value.size for value in unique)

    def forward_peak(self) -> float:
        """The most bytes a token during the forward pass: what is kept, and what is in use.

        A value that is not kept lives from its making to its last use or hold.
        """
        last: dict[Value, int] = {}
        for index, operation in enumerate(self._operations):
            for value in (*operation.inputs, *operation.outputs, *operation.holds):
                last[value] = index
        kept: set[Value] = set()
        alive: set[Value] = set()
        peak = 0.0
        for index, operation in enumerate(self._operations):
            kept.update(operation.saves)
            alive.update(operation.inputs, operation.outputs)
            peak = max(peak, sum(value.size for value in kept | alive))
            alive = {value for value in alive if last[value] > index}
        return peak

    def backward_peak(self) -> float:
        """The most bytes a token during the backward pass: what is still kept, and gradients."""
        holders: Counter[Value] = Counter()
        for operation in self._operations:
            holders.update(set(operation.saves))
        kept = self.kept()
        # value -> the buffer that holds its gradient; a sum hands one buffer to all its inputs
        results = next((op.outputs for op in reversed(self._operations) if op.outputs), ())
        gradients = {value: Value(value.elements, value.item) for value in results}
        peak = kept
        for operation in reversed(self._operations):
            live = kept + sum(buffer.size for buffer in set(gradients.values()))
            fresh = 0.0 if operation.aliases else sum(value.size for value in operation.inputs)
            peak = max(peak, live + fresh + operation.workspace)
            _pass_on(operation, gradients)
            for value in set(operation.saves):
                holders[value] -= 1
                if not holders[value]:
                    kept -= value.size
        return peak


def _pass_on(operation: _Operation, gradients: dict[Value, Value]) -> None:
    arrived = [gradients.pop(value, None) for value in operation.outputs]
    shared = next((buffer for buffer in arrived if buffer is not None), None)
    for value in operation.inputs:
        held = gradients.get(value)
        if held is not None and list(gradients.values()).count(held) == 1:
            continue  # summed in place into what is there
        if operation.aliases and held is None and shared is not None:
            gradients[value] = shared
        else:
            gradients[value] = Value(value.elements, value.item)
