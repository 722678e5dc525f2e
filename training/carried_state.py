"""The state that rows carry from one chunk to the next, as checkpoints keep it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from networks.language_model import LanguageModel, State


def named_state(model: LanguageModel, state: Sequence[Tensor]) -> dict[str, Tensor]:
    """Names the tensors of a state; there are none before the first step of a run."""
    if not state:
        return {}
    return {spec.name: part for spec, part in zip(model.state_specs, state, strict=True)}


def continued(model: LanguageModel, state: State, carried: int, rows: int) -> State:
    """Makes the state in which rows begin a chunk: the first ones go on, all others are fresh.

    Args:
        model: the model.
        state: the state after the chunk before; it may have more rows than go on.
        carried: number of rows that go on.
        rows: number of all rows, B.
    """
    if not carried:
        return model.initial_state(rows)
    kept = tuple(part[:carried] for part in state)
    if carried == rows:
        return kept
    fresh = model.initial_state(rows - carried)
    return tuple(torch.cat([old, new.to(old)]) for old, new in zip(kept, fresh, strict=True))


def restored_state(model: LanguageModel, tensors: dict[str, Tensor], rows: Sequence[int]) -> State:
    """Takes some rows of a state that `named_state` named, on the model's device.

    Args:
        model: the model that the state is of.
        tensors: the state of all rows, [B, ...] each.
        rows: the rows to take, which there are.

    Raises:
        ValueError: it is no state of this model.
    """
    if not tensors:
        return ()
    specs, fresh = model.state_specs, model.initial_state(1)
    if tensors.keys() != {spec.name for spec in specs}:
        raise ValueError(f"its state has {', '.join(tensors)}")
    state = []
    for spec, like in zip(specs, fresh, strict=True):
        part = tensors[spec.name]
        if part.shape[1:] != like.shape[1:] or part.dtype != like.dtype:
            raise ValueError(f"its state {spec.name} is {part.dtype} of {tuple(part.shape)}")
        state.append(part[list(rows)].to(model.device))
    return tuple(state)
