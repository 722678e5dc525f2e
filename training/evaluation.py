"""Evaluation: a model's loss over a held-out text, or over as much of it as there is time for.

The text is read as `charloom/evaluation_lanes.py` says. The loss is the mean of the negative
log-probabilities of its tokens in nats, summed in float32 or better; the products run in the precision of
the training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom.evaluation_lanes import CHUNK, UNCOUNTED, EvaluationLanes
from charloom.vocabulary import Ids
from networks.language_model import LanguageModel, State
from training.hardware import Hardware
from training.ranks import ALONE, Ranks

SCORES = 2**23
"""Scores of a chunk at the most, S x B x V; with a large vocabulary chunks are shorter."""


@dataclass(frozen=True)
class HeldOutLoss:
    """The loss over a held-out text."""

    mean: float
    """Nats a token."""
    tokens: int
    """Tokens that were measured."""


def held_out_loss(
    model: LanguageModel,
    text: Ids,
    start: int,
    hardware: Hardware,
    pause: Callable[[float], None] = lambda _: None,
    lanes: int = 0,
    ranks: Ranks = ALONE,
    enough: Callable[[int], bool] = lambda _: False,
) -> HeldOutLoss:
    """Measures the loss over a text.

    Args:
        model: the model.
        text: token ids [n].
        start: the start token.
        hardware: the hardware on which the model is.
        pause: called before each chunk with the share of the text that is done; an exception from it ends
            the evaluation and leaves the model as it was.
        lanes: number of lanes in which the text is read; 0: as many as suit it.
        ranks: the processes that share the lanes.
        enough: told the number of tokens measured after each chunk, on all ranks alike; it ends the
            evaluation, of which each lane has then read its beginning.
    """
    training = model.training
    model.eval()
    try:
        nats, tokens = summed_loss(model, EvaluationLanes(text, start, lanes), hardware, pause, ranks, enough)
        return HeldOutLoss(ranks.total(nats) / tokens, tokens)
    finally:
        model.train(training)


@torch.no_grad()
def summed_loss(
    model: LanguageModel,
    lanes: EvaluationLanes,
    hardware: Hardware,
    pause: Callable[[float], None],
    ranks: Ranks,
    enough: Callable[[int], bool],
) -> tuple[float, int]:
    """Sums the losses in this rank's share of the lanes, and counts the tokens of all lanes."""
    share = ranks.share(lanes.count)
    ours = slice(share.start, share.stop)
    total = torch.zeros((), dtype=torch.float64, device=hardware.device)
    length = max(1, min(CHUNK, SCORES // (lanes.count * model.outputs)))
    tokens = 0
    with hardware.autocast():
        primed = primed_state(model, torch.from_numpy(lanes.prime()).to(hardware.device))
        state = tuple(part[ours].contiguous() for part in primed)
        for number, (inputs, targets) in enumerate(lanes.chunks(length)):
            pause(number * length / lanes.time)
            if share:  # else there are fewer lanes than ranks
                fed = torch.from_numpy(inputs[:, ours]).to(hardware.device)
                scores, state = model(fed, state)  # [S, B, V]
                total += F.cross_entropy(
                    scores.float().flatten(0, 1),
                    torch.from_numpy(targets[:, ours]).to(hardware.device).flatten(),
                    ignore_index=UNCOUNTED,
                    reduction="sum",
                )
            tokens += int((targets != UNCOUNTED).sum())
            if enough(tokens):
                break
    return float(total), tokens


def primed_state(model: LanguageModel, prime: Tensor) -> State:
    """Returns the state in which each lane begins; all but the first read tokens [P, B - 1] before."""
    first = model.initial_state(1)
    if not prime.shape[1]:
        return first
    _, others = model(prime, model.initial_state(prime.shape[1]))
    return tuple(torch.cat([a, b.to(a)]) for a, b in zip(first, others, strict=True))
