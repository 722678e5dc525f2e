"""PyTorch's fused recurrent kernels: whole chunks through one or more layers, of any weights."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from networks.recurrent.config import Cell

LayerState = tuple[Tensor, ...]
"""(h, c) of an LSTM, (h,) of the other cells; each [L, B, H]."""

KERNELS: dict[Cell, Callable[..., Any]] = {"lstm": torch.lstm, "gru": torch.gru, "rnn": torch.rnn_tanh}


def run_layers(
    cell: Cell,
    x: Tensor,
    state: LayerState,
    weights: Sequence[Sequence[Tensor]],
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, LayerState]:
    """Runs layers: [T, B, C] to [T, B, H], and the state [L, B, H] after it.

    `weights` are as `nn.RNNBase.all_weights` has them, layer by layer. With a `dtype` all is cast to it.
    """
    flat = [weight for layer in weights for weight in layer]
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # cuDNN gathers weights that do not lie together, as masked ones never do, at every call.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single")
        if dtype is not None:
            x, *cast = (one.to(dtype) for one in (x, *state, *flat))
            state, flat = tuple(cast[: len(state)]), cast[len(state) :]
            stack.enter_context(torch.autocast(x.device.type, enabled=False))
        y, *after = KERNELS[cell](
            x,
            state if cell == "lstm" else state[0],
            flat,
            True,  # with biases
            len(weights),
            0.0,  # dropout, which is ours
            torch.is_grad_enabled(),
            False,  # in both directions
            False,  # the batch is the first axis
        )
    return y, tuple(after)


def own_dtype(device: torch.device) -> torch.dtype | None:
    """Returns the type to which the caller must cast the kernels' arguments; None where autocast does it.

    On a GPU autocast knows them in float16 alone, whatever it is asked for, and there small gradients
    vanish; bfloat16 they take since cuDNN 9.13 (https://github.com/pytorch/pytorch/pull/164411).
    """
    if device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return None
