"""Choosing the next token from a model's scores.

The one definition of sampling: previews while training and the exported burst graph both run it.
It knows nothing of models or steps, and draws no random numbers: they come in from outside.

Filters only mask. Whatever a row asks for, it ends in the same arithmetic in vocabulary order:
the first token whose cumulative probability exceeds u times the total. So a plain row's choice
does not change because a filtered row stands beside it, and no token of probability zero is ever
chosen: the cumulative sum does not grow there, and u times the total stays below the total.
"""

import torch
from torch import Tensor

GREEDY = 2.0**100
"""The inverse temperature that stands for temperature 0.

A power of two multiplies exactly, so the likeliest token keeps probability 1 and all others get
exp of a huge negative number, which is 0: greedy choice needs no arithmetic of its own.
"""


def inverse(temperature: Tensor) -> Tensor:
    """1 / temperature, bounded by GREEDY, any shape."""
    return torch.reciprocal(temperature.abs()).clamp(max=GREEDY)  # of minus zero too


def settle(uniform: Tensor, inverse_temperature: Tensor) -> Tensor:
    """The random numbers with greedy ones set to 0: a tie goes to the first token."""
    return torch.where(inverse_temperature == GREEDY, torch.zeros_like(uniform), uniform)


def probabilities(scores: Tensor, inverse_temperature: Tensor) -> Tensor:
    """Softmax of scores [B, V] at each row's temperature [B]."""
    return torch.softmax(scores * inverse_temperature[:, None], -1)


def draw(mass: Tensor, uniform: Tensor) -> Tensor:
    """Inverse CDF: the first token whose cumulative mass exceeds u * total.

    mass [B, V] need not sum to 1; uniform [B] lies in [0, 1). Gives int64 [B].
    """
    cumulative = mass.cumsum(-1)
    return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1)


def keep_likeliest(mass: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """Sets to zero what top-k, top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) drop.

    mass [B, V]; top_k int64 [B], 0 for all; top_p and min_p [B]. Top-p counts what top-k and
    min-p left. Tokens as likely as the last one kept are kept too.
    """
    ranked, _ = torch.sort(mass, -1, descending=True)  # [B, V]
    rank = torch.arange(mass.shape[1], device=mass.device)[None]
    keep = ((top_k[:, None] == 0) | (rank < top_k[:, None])) & (ranked >= min_p[:, None] * ranked[:, :1])
    kept = torch.where(keep, ranked, torch.zeros_like(ranked))
    total = kept.cumsum(-1)
    before = total - kept
    # Rounding can bring `before` up to the whole total, so top-p 1 is told apart, not computed.
    keep &= (before < top_p[:, None] * total[:, -1:]) | (top_p[:, None] >= 1)
    least = torch.where(keep, ranked, torch.full_like(ranked, 2.0)).amin(-1, keepdim=True)
    return torch.where(mass >= least, mass, torch.zeros_like(mass))


def penalise(
    scores: Tensor,
    recent: Tensor,
    window: Tensor,
    repetition: Tensor,
    frequency: Tensor,
    presence: Tensor,
) -> Tensor:
    """Lowers the scores [B, V] of tokens among the newest `window` [B] of `recent` [B, W].

    Repetition divides or multiplies (Keskar et al. 2019); frequency subtracts per occurrence and
    presence once. Tokens count alike whether they were read or sampled; -1 stands for none.
    """
    slots = recent.shape[1]
    newest = torch.arange(slots, device=recent.device)[None] >= slots - window[:, None]
    # A frozen row that never ran remembers the start token, which has no score.
    known = (recent >= 0) & (recent < scores.shape[1])
    counts = torch.zeros_like(scores).scatter_add(
        1, torch.where(known, recent, torch.zeros_like(recent)), (known & newest).to(scores.dtype)
    )
    seen = counts > 0
    ratio = repetition[:, None]
    scores = torch.where(seen, torch.where(scores > 0, scores / ratio, scores * ratio), scores)
    return scores - counts * frequency[:, None] - seen.to(scores.dtype) * presence[:, None]


def bias(scores: Tensor, token: Tensor, value: Tensor, active: Tensor) -> Tensor:
    """Adds value [B, N] to the scores [B, V] of token [B, N] where active [B, N]."""
    value = torch.where(active, value, torch.zeros_like(value))
    return scores + torch.zeros_like(scores).scatter_add(1, token, value)


def allow(scores: Tensor, allowed: Tensor) -> Tensor:
    """Rules out, at score minus infinity, what allowed [B, V] does not hold."""
    return torch.where(allowed, scores, torch.full_like(scores, -torch.inf))
