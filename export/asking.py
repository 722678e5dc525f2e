"""Rows that ask: what only some rows of a burst want, only they pay for.

A graph that sorts a vocabulary for one row need not do so for its neighbours. Which rows ask for
something is found once for the burst; in each step they are taken out, changed and put back, and
where there are none nothing of it runs. Rows are independent of each other, so to the bit it makes
no difference to any which others ask.

It knows torch's conditional, and nothing of samplers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Named = dict[str, Tensor]


def find(asks: Named) -> Named:
    """For each of asks, bool [B]: whether any row does, bool [], and which do, int64 [R]."""
    some = {f"any:{name}": rows.any() for name, rows in asks.items()}
    return some | {f"rows:{name}": torch.nonzero(rows)[:, 0] for name, rows in asks.items()}


def update(found: Named, name: str, change: Callable[..., Tensor], old: Tensor, *inputs: Tensor) -> Tensor:
    """`old` [B, ...], its rows that ask for `name` replaced by what `change` makes of their inputs."""

    def some(old: Tensor, rows: Tensor, *inputs: Tensor) -> tuple[Tensor]:
        return (old.index_copy(0, rows, change(*(given.index_select(0, rows) for given in inputs))),)

    def none(old: Tensor, rows: Tensor, *inputs: Tensor) -> tuple[Tensor]:  # noqa: ARG001
        return (old.clone(),)

    new: tuple[Tensor] = torch.cond(found[f"any:{name}"], some, none, (old, found[f"rows:{name}"], *inputs))
    return new[0]
