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
from torch.nn import functional as F

GREEDY = 2.0**100
"""The inverse temperature that stands for temperature 0.

A power of two multiplies exactly, so the likeliest token keeps probability 1 and all others get
exp of a huge negative number, which is 0: greedy choice needs no arithmetic of its own.
"""

BLOCK = 128
"""Tokens that are drawn from at once: a running sum over a whole large vocabulary is slow."""


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
    if mass.shape[1] > BLOCK:
        return draw_in_blocks(mass, uniform)
    cumulative = mass.cumsum(-1)
    return count(cumulative <= uniform[:, None] * cumulative[:, -1:])


def draw_in_blocks(mass: Tensor, uniform: Tensor) -> Tensor:
    """The same in two steps: first the block in which the token lies, then its place in there."""
    rows, tokens = mass.shape
    blocks = F.pad(mass, (0, -tokens % BLOCK)).reshape(rows, -1, BLOCK)
    cumulative = blocks.sum(-1).cumsum(-1)  # [B, blocks]
    target = uniform[:, None] * cumulative[:, -1:]
    passed = cumulative <= target
    block = count(passed)
    rest = target - torch.where(passed, cumulative, torch.zeros_like(cumulative)).amax(-1, keepdim=True)
    inner = blocks.gather(1, block[:, None, None].expand(-1, 1, BLOCK))[:, 0].cumsum(-1)  # [B, BLOCK]
    # Added up in another order, the block may hold a little less than the rest: then its last token.
    place = torch.minimum(count(inner <= rest), count(inner < inner[:, -1:]))
    return block * BLOCK + place


def count(holds: Tensor) -> Tensor:
    """How many of each row [B, N] hold; in float32, which is fast, and exact below 2**24."""
    return holds.to(torch.float32).sum(-1).to(torch.int64)


def keep_likeliest(mass: Tensor, top_k: Tensor, min_p: Tensor, typical_p: Tensor, top_p: Tensor) -> Tensor:
    """Sets to zero what top-k, min-p, typical and top-p drop, in this order, each of what is left.

    mass [B, V], temperature already applied; top_k int64 [B], 0 for all; the others [B]. Tokens
    that rank with the last one kept are kept too. vLLM's order is temperature, min-p, top-k, top-p,
    which comes to the same; typical sampling it has not.
    """
    mass = keep_top_k(mass, top_k)
    mass = keep_min_p(mass, min_p)
    mass = keep_typical(mass, typical_p)
    return keep_top_p(mass, top_p)


def keep_top_k(mass: Tensor, k: Tensor) -> Tensor:
    """The k [B] likeliest tokens; 0 for all."""
    last = torch.where(k > 0, k, torch.full_like(k, mass.shape[1])).clamp(max=mass.shape[1]) - 1
    ranked, _ = torch.sort(mass, -1, descending=True)  # [B, V]
    return keep(mass, mass >= ranked.gather(1, last[:, None]))


def keep_min_p(mass: Tensor, share: Tensor) -> Tensor:
    """Tokens of at least this share [B] of the likeliest token's mass (Nguyen et al. 2024)."""
    return keep(mass, mass >= share[:, None] * mass.amax(-1, keepdim=True))


def keep_top_p(mass: Tensor, share: Tensor) -> Tensor:
    """The fewest likeliest tokens that hold this share [B] of the mass (Holtzman et al. 2020)."""
    return keep_first(mass, -mass, share)


def keep_typical(mass: Tensor, share: Tensor) -> Tensor:
    """The fewest typical tokens that hold this share [B] of the mass (Meister et al. 2022).

    Typical are those whose information, -log p, is near its mean, the entropy.
    """
    p = mass / mass.sum(-1, keepdim=True)
    information = -torch.log(torch.where(p > 0, p, torch.ones_like(p)))
    entropy = (p * information).sum(-1, keepdim=True)
    distance = (information - entropy).abs()
    return keep_first(mass, torch.where(p > 0, distance, torch.full_like(p, torch.inf)), share)


def keep_first(mass: Tensor, key: Tensor, share: Tensor) -> Tensor:
    """The fewest tokens of lowest key [B, V] that hold this share [B] of the mass, with equals."""
    ranked, order = torch.sort(key, -1)
    held = mass.gather(1, order).cumsum(-1)
    last = (held < share[:, None] * held[:, -1:]).sum(-1, keepdim=True)
    # Rounding can bring `held` up to the whole too early, so a share of 1 is told apart.
    return keep(mass, (key <= ranked.gather(1, last)) | (share[:, None] >= 1))


def keep(mass: Tensor, kept: Tensor) -> Tensor:
    """Zero where not kept."""
    return torch.where(kept, mass, torch.zeros_like(mass))


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
