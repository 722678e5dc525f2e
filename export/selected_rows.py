"""Selected rows: what only some rows of a burst need, only they pay for.

A graph that sorts a vocabulary for one row need not do so for the others. Which rows need something is
found once a burst; in each step they are gathered, changed and scattered back, and where there are none,
nothing of it runs. Rows are independent of each other, so no row's bits depend on which others are selected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from export.graph import GraphBuilder, Value


@dataclass(frozen=True)
class SelectedRows:
    """The rows of a batch that need something."""

    some: Value
    """Whether there are any: bool []."""
    indices: Value
    """Which: int64 [R]."""

    @classmethod
    def where(cls, op: GraphBuilder, needed: Value) -> "SelectedRows":
        """The rows where `needed`, bool [B], holds."""
        return cls(any_of(op, needed), op.Squeeze(op.NonZero(needed), [0]))

    def update(self, op: GraphBuilder, old: Value, change: Callable[..., Value], *inputs: Value) -> Value:
        """`old` [B, ...], the selected rows replaced by what `change` makes of theirs of the inputs."""

        def changed(op: GraphBuilder) -> Value:
            new = change(op, *(op.Gather(tensor, self.indices, axis=0) for tensor in inputs))
            return op.ScatterND(old, op.Unsqueeze(self.indices, [-1]), new)

        return op.branch(self.some, changed, old)


def any_of(op: GraphBuilder, holds: Value, axes: list[int] | None = None) -> Value:
    """Whether any element along the axes (by default all) holds; bool to bool."""
    highest = op.ReduceMax(op.Cast(holds, to=ir.DataType.UINT8), axes, keepdims=0)
    return op.Cast(highest, to=ir.DataType.BOOL)


def all_of(op: GraphBuilder, holds: Value, axes: list[int]) -> Value:
    """Whether every element along the axes holds; bool to bool."""
    lowest = op.ReduceMin(op.Cast(holds, to=ir.DataType.UINT8), axes, keepdims=0)
    return op.Cast(lowest, to=ir.DataType.BOOL)
