"""The state that lanes carry from one chunk to the next, as checkpoints keep it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from networks.language_model import LanguageModel, State


def named_state(model: LanguageModel, state: Sequence[Tensor]) -> dict[str, Tensor]:
    """Names the tensors of a state; there are none before the first step of a run."""
    if not state:
        return {}
    return {spec.name: part for spec, part in zip(model.state_specs, state, strict=True)}


def restored_state(model: LanguageModel, tensors: dict[str, Tensor], batch: int, lanes: range) -> State:
    """Takes some lanes of a state that `named_state` named, on the model's device.

    Args:
        model: the model that the state is of.
        tensors: the state of all lanes, [B, ...] each.
        batch: number of all lanes, B.
        lanes: the lanes to take.

    Raises:
        ValueError: it is no state of this model in so many lanes.
    """
    if not tensors:
        return ()
    specs, fresh = model.state_specs, model.initial_state(batch)
    if tensors.keys() != {spec.name for spec in specs}:
        raise ValueError(f"its state has {', '.join(tensors)}")
    state = []
    for spec, like in zip(specs, fresh, strict=True):
        part = tensors[spec.name]
        if part.shape != like.shape or part.dtype != like.dtype:
            raise ValueError(f"its state {spec.name} is {part.dtype} of {tuple(part.shape)}")
        state.append(part[lanes.start : lanes.stop].contiguous().to(model.device))
    return tuple(state)


def begun_afresh(model: LanguageModel, state: State, count: int) -> State:
    """Puts the initial state in place of that of the last `count` lanes."""
    if not count:
        return state
    fresh = model.initial_state(count)
    return tuple(torch.cat([part[:-count], initial]) for part, initial in zip(state, fresh, strict=True))
