"""A symbolic autograd tape: tensors that a block keeps for its backward pass, in bytes per token.

Follows PyTorch's rules of what operations save and how gradients accumulate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Value:
    """A tensor of ``elements`` numbers per token, ``item`` bytes each; compared by identity.

    ``size`` is in bytes per token.
    """

    __slots__ = ("elements", "item", "size")

    def __init__(self, elements: float, item: float) -> None:
        self.elements = elements
        self.item = item
        self.size = elements * item


class _Operation(NamedTuple):
    outputs: Sequence[Value]
    inputs: Sequence[Value]
    saves: Sequence[Value]
    workspace: float
    aliases: bool
    holds: Sequence[Value]


class Tape:
    """Operations in forward order, each with the values that it saves for the backward pass."""

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
        """Add an operation.

        Args:
            inputs: Values that get gradients.
            saves: Values kept for the backward pass; one that several operations save counts once.
            workspace: Temporary bytes per token of the backward pass.
            aliases: Whether the gradient of every input is the output's gradient itself (a sum, a
                view), which takes no memory.
            holds: Values that the caller still references while the operation runs.
        """
        self._operations.append(_Operation(outputs, inputs, saves, workspace, aliases, holds))

    def kept(self) -> float:
        """Bytes per token that are kept from the end of the forward to the backward pass."""
        unique = {value for operation in self._operations for value in operation.saves}
        return sum(value.size for value in unique)

    def forward_peak(self) -> float:
        """Peak bytes per token of the forward pass: values that are kept or in use.

        A value that is not kept lives from its creation to its last use or hold.
        """
        last: dict[Value, int] = {}
        for index, operation in enumerate(self._operations):
            for value in (*operation.inputs, *operation.outputs, *operation.holds):
                last[value] = index
        kept: set[Value] = set()
        alive: set[Value] = set()
        live = peak = 0.0
        for index, operation in enumerate(self._operations):
            used = (*operation.inputs, *operation.outputs)
            for values, group in ((operation.saves, kept), (used, alive)):
                for value in values:
                    if value not in kept and value not in alive:
                        live += value.size
                    group.add(value)
            peak = max(peak, live)
            for value in {*used, *operation.holds} & alive:
                if last[value] == index:
                    alive.remove(value)
                    live -= 0.0 if value in kept else value.size
        return peak

    def backward_peak(self) -> float:
        """Peak bytes per token of the backward pass: values still kept, and gradients."""
        save_counts: Counter[Value] = Counter()
        for operation in self._operations:
            save_counts.update(set(operation.saves))
        kept = self.kept()
        gradients = _Gradients()
        for value in next((op.outputs for op in reversed(self._operations) if op.outputs), ()):
            gradients.allocate(value)
        peak = kept
        for operation in reversed(self._operations):
            added = 0.0 if operation.aliases else sum(value.size for value in operation.inputs)
            peak = max(peak, kept + gradients.size + added + operation.workspace)
            gradients.pass_on(operation)
            for value in set(operation.saves):
                save_counts[value] -= 1
                if not save_counts[value]:
                    kept -= value.size
        return peak


class _Gradients:
    """The gradients of a backward pass; a sum passes one buffer to all its inputs.

    ``size`` is the total of all buffers, in bytes per token.
    """

    def __init__(self) -> None:
        self.size = 0.0
        self._buffers: dict[Value, Value] = {}
        self._users: Counter[Value] = Counter()

    def allocate(self, value: Value) -> None:
        """Give a value a buffer of its own."""
        self._give(value, Value(value.elements, value.item))

    def pass_on(self, operation: _Operation) -> None:
        """Replace the gradients of an operation's outputs by gradients of its inputs."""
        output_buffers = [self._take(value) for value in operation.outputs]
        shared = next((buffer for buffer in output_buffers if buffer is not None), None)
        for value in operation.inputs:
            existing = self._buffers.get(value)
            if existing is not None and self._users[existing] == 1:
                continue  # added in place
            if operation.aliases and existing is None and shared is not None:
                self._give(value, shared)
            else:
                self.allocate(value)

    def _take(self, value: Value) -> Value | None:
        buffer = self._buffers.pop(value, None)
        if buffer is not None:
            self._users[buffer] -= 1
            self.size -= 0.0 if self._users[buffer] else buffer.size
        return buffer

    def _give(self, value: Value, buffer: Value) -> None:
        self._take(value)
        self._buffers[value] = buffer
        self.size += 0.0 if self._users[buffer] else buffer.size
        self._users[buffer] += 1
