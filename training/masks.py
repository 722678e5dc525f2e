"""Masks: what is dropped for the length of one training step, and scaled up where it is kept.

Each is drawn once a step and is the same at all its characters, unlike plain dropout, which draws
anew at each of them and so wears away what a recurrent state carries. At a rate of 0 nothing is
drawn, and what is given comes back as it is.

What the lanes have in common, weights and tokens, is drawn from a generator `shared`, if one is given.

It knows nothing of models.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def drop_units(x: Tensor, rate: float) -> Tensor:
    """Drops a share of the numbers of each lane, the same at every time: [T, B, C] to [T, B, C].

    One mask a sequence is the variational dropout of Gal and Ghahramani 2016
    (https://arxiv.org/abs/1512.05287), the locked dropout of Merity et al. 2017.
    """
    return x * drawn((1, *x.shape[1:]), rate, x) if rate else x


def drop_tokens(
    x: Tensor, tokens: Tensor, inputs: int, rate: float, shared: torch.Generator | None = None
) -> Tensor:
    """Drops a share of the `inputs` tokens wherever they are fed: [T, B, C] to [T, B, C].

    It is as if their rows of the embedding were zero: the embedding dropout of Gal and
    Ghahramani 2016, with one mask for all lanes as in Merity et al. 2017.
    """
    return x * F.embedding(tokens, drawn((inputs, 1), rate, x, shared)) if rate else x


def drop_weights(weight: Tensor, rate: float, shared: torch.Generator | None = None) -> Tensor:
    """Drops a share of single weights.

    On the weights from a layer's state to its next this is DropConnect (Wan et al. 2013) as Merity
    et al. 2017 use it in the AWD-LSTM (https://arxiv.org/abs/1708.02182).
    """
    return weight * drawn(weight.shape, rate, weight, shared) if rate else weight


def drawn(
    shape: tuple[int, ...], rate: float, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Zeros at a share `rate`, else 1 / (1 - rate), which keeps the mean; of the type of `like`.

    On a CPU, uniform numbers take a quarter of the time that torch's Bernoulli takes.
    """
    return (torch.rand(shape, device=like.device, generator=generator) >= rate).to(like.dtype) / (1 - rate)
