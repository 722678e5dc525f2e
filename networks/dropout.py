"""Dropout: parts of a network that are dropped for one training step, and scaled up where they are kept.

Each mask is drawn once per step and is the same at all its tokens, unlike plain dropout, which draws
anew at each token and so wears away what a recurrent state carries. At a rate of 0 nothing is drawn and
the argument is returned as it is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.config import DropoutRates


@dataclass(frozen=True)
class Dropout:
    """Configures what a training step drops."""

    rates: DropoutRates = DropoutRates()
    shared: torch.Generator | None = None
    """Draws the masks that all lanes have in common, those of weights and tokens; None: torch's own."""


NO_DROPOUT = Dropout()


def drop_units(x: Tensor, rate: float) -> Tensor:
    """Drops a share of the numbers of each lane, the same at every time: [T, B, C] to [T, B, C].

    One mask a sequence is the variational dropout of Gal and Ghahramani 2016
    (https://arxiv.org/abs/1512.05287), the locked dropout of Merity et al. 2017.
    """
    return x * draw_mask((1, *x.shape[1:]), rate, x) if rate else x


def drop_tokens(
    x: Tensor, tokens: Tensor, inputs: int, rate: float, shared: torch.Generator | None = None
) -> Tensor:
    """Drops a share of the `inputs` tokens wherever they are fed: [T, B, C] to [T, B, C].

    It is as if their rows of the embedding were zero: the embedding dropout of Gal and
    Ghahramani 2016, with one mask for all lanes as in Merity et al. 2017.
    """
    return x * F.embedding(tokens, draw_mask((inputs, 1), rate, x, shared)) if rate else x


def drop_weights(weight: Tensor, rate: float, shared: torch.Generator | None = None) -> Tensor:
    """Drops a share of single weights.

    On the weights from a layer's state to its next this is DropConnect (Wan et al. 2013) as Merity
    et al. 2017 use it in the AWD-LSTM (https://arxiv.org/abs/1708.02182).
    """
    return weight * draw_mask(weight.shape, rate, weight, shared) if rate else weight


def draw_mask(
    shape: tuple[int, ...], rate: float, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Draws zeros at a share `rate`, else 1 / (1 - rate), which keeps the mean; of the type of `like`.

    On a CPU, uniform numbers take a quarter of the time that torch's Bernoulli takes.
    """
    return (torch.rand(shape, device=like.device, generator=generator) >= rate).to(like.dtype) / (1 - rate)
