"""Choosing the next token from a model's scores.

The one definition of sampling: previews while training and the exported burst graph both run it.
It draws no random numbers; they are arguments.

Filters only mask. Whatever a row asks for, it ends in the same arithmetic in vocabulary order:
the first token whose cumulative probability exceeds u times the total. So a plain row's choice
does not change because a filtered row stands beside it, and no token of probability zero is ever
chosen: the cumulative sum does not grow there, and u times the total stays below the total.

The order is that of vLLM: bias, penalties, forbidden tokens, temperature, top-k, min-p, top-p; before
top-p comes typical sampling, which vLLM has not. Each filter counts what the former left, and keeps
the equals of the last token that it keeps.
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


def logits(scores: Tensor, inverse_temperature: Tensor) -> Tensor:
    """Scores [B, V] at each row's temperature [B, 1]."""
    return scores * inverse_temperature


def probabilities(scores: Tensor, inverse_temperature: Tensor) -> Tensor:
    """Softmax of scores [B, V] at each row's temperature [B, 1]."""
    return torch.softmax(logits(scores, inverse_temperature), -1)


def exclude(scores: Tensor, token: int) -> Tensor:
    """Scores [B, V] with that of a token that is never sampled at minus infinity."""
    excluded = torch.zeros(scores.shape[-1], device=scores.device)
    excluded[token] = -torch.inf
    return scores + excluded


def draw(mass: Tensor, uniform: Tensor) -> Tensor:
    """Inverse CDF: the first token whose cumulative mass exceeds u * total.

    mass [B, V] need not sum to 1; uniform [B, 1] lies in [0, 1). Gives int64 [B].
    """
    if mass.shape[1] > BLOCK:
        return draw_in_blocks(mass, uniform)
    cumulative = mass.cumsum(-1)
    return count(cumulative <= uniform * cumulative[:, -1:])


def draw_in_blocks(mass: Tensor, uniform: Tensor) -> Tensor:
    """The same in two steps: first the block in which the token lies, then its place in there."""
    rows, tokens = mass.shape
    blocks = F.pad(mass, (0, -tokens % BLOCK)).reshape(rows, -1, BLOCK)
    cumulative = blocks.sum(-1).cumsum(-1)  # [B, blocks]
    target = uniform * cumulative[:, -1:]
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


def keep_top_k(mass: Tensor, k: Tensor) -> Tensor:
    """The k likeliest tokens; k int64 [B], at least 1."""
    k = k.clamp(max=mass.shape[1])
    ranked, _ = torch.topk(mass, int(k.max()))
    return drop(mass, mass < ranked.gather(1, k[:, None] - 1))


def keep_min_p(mass: Tensor, share: Tensor) -> Tensor:
    """Tokens of at least this share [B] of the likeliest token's mass (Nguyen et al. 2024)."""
    return drop(mass, mass < share[:, None] * mass.amax(-1, keepdim=True))


def keep_typical(mass: Tensor, logits: Tensor, share: Tensor) -> Tensor:
    """The fewest typical tokens that hold this share [B] of the mass (Meister et al. 2022).

    Typical are those whose information, -log p, is near its mean, the entropy. It comes from
    the logits [B, V] that the mass was made of: the logarithm of a tensor may round an element by its
    place in it, which depends on the batch; log-softmax does not.
    """
    possible = mass > 0
    nothing = torch.zeros_like(mass)
    information = -torch.log_softmax(torch.where(possible, logits, nothing - torch.inf), -1)
    p = mass / mass.sum(-1, keepdim=True)
    entropy = torch.where(possible, p * information, nothing).sum(-1, keepdim=True)
    return keep_first(mass, -(information - entropy).abs(), share, possible)


def keep_top_p(mass: Tensor, share: Tensor) -> Tensor:
    """The fewest likeliest tokens that hold this share [B] of the mass (Holtzman et al. 2020)."""
    # All tokens below this bound together hold less than half of what may be dropped.
    bound = (1 - share) * mass.sum(-1) / (2 * mass.shape[1])
    return keep_first(mass, mass, share, mass >= bound[:, None])


def keep_first(mass: Tensor, key: Tensor, share: Tensor, candidates: Tensor) -> Tensor:
    """The fewest tokens of highest key [B, V] that hold this share [B] of the mass.

    They are sought among the candidates [B, V] alone, those of highest key, so that a few
    likely tokens can be found without sorting all V.
    """
    most = count(candidates).clamp(min=1)
    ranked, order = torch.topk(key, int(most.max()))
    held = mass.gather(1, order).cumsum(-1)
    reached = count(held < share[:, None] * mass.sum(-1, keepdim=True))
    # How far a row is ranked depends on its company, where it ends must not.
    last = torch.minimum(reached, most - 1)
    return drop(mass, key < ranked.gather(1, last[:, None]))


def drop(mass: Tensor, dropped: Tensor) -> Tensor:
    """Zero where dropped."""
    return torch.where(dropped, torch.zeros_like(mass), mass)


def bias(scores: Tensor, token: Tensor, value: Tensor, active: Tensor) -> Tensor:
    """Adds value [B, N] to the scores [B, V] of token [B, N] where active [B, N]."""
    return scores.scatter_add(1, token, torch.where(active, value, torch.zeros_like(value)))


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
    token = torch.where(known, recent, torch.zeros_like(recent))
    counts = torch.zeros_like(scores).scatter_add(1, token, (known & newest).to(scores.dtype))
    times = counts.gather(1, token)  # [B, W], the same for every slot of a token, as all that follows
    score = scores.gather(1, token)
    ratio = repetition[:, None]
    lower = torch.where(score > 0, score / ratio, score * ratio)
    lower = lower - times * frequency[:, None] - presence[:, None]
    return scores.scatter(1, token, torch.where(times > 0, lower, score))


def allow(scores: Tensor, allowed: Tensor) -> Tensor:
    """Rules out, at score minus infinity, what allowed [B, V] does not hold."""
    return torch.where(allowed, scores, torch.full_like(scores, -torch.inf))
