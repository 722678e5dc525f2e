"""Evaluation: a model's loss over a held-out text, or over as much of it as there is time for.

A text is read as `charloom/evaluation_lanes.py` says, records each by itself. The loss is the mean of the
negative log-probabilities of its tokens in nats, summed in float32 or better; the products run in the
precision of the training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from charloom.chunk import UNCOUNTED, EvaluationBatches
from networks.language_model import LanguageModel, State
from training.carried_state import continued
from training.hardware import Hardware
from training.ranks import ALONE, Ranks

SCORES = 2**23
"""Scores of a chunk at the most, S x B x V; with a large vocabulary chunks are shorter."""
PLACES = 2**13
"""Places of a chunk at the most, S x B."""


@dataclass(frozen=True)
class HeldOutLoss:
    """The loss over a held-out text."""

    mean: float
    """Nats a token."""
    tokens: int
    """Tokens that were measured."""


def held_out_loss(
    model: LanguageModel,
    batches: EvaluationBatches,
    hardware: Hardware,
    pause: Callable[[float], None] = lambda _: None,
    ranks: Ranks = ALONE,
    enough: Callable[[int], bool] = lambda _: False,
) -> HeldOutLoss:
    """Measures the loss over a text, or over records.

    Args:
        model: the model.
        batches: what is to be measured; something of it counts.
        hardware: the hardware on which the model is.
        pause: called before each chunk with the share of the text that is done; an exception from it ends
            the evaluation and leaves the model as it was.
        ranks: the processes that share the rows.
        enough: told the number of tokens measured after each chunk, on all ranks alike; it ends the
            evaluation, of which each lane has then read its beginning.
    """
    training = model.training
    model.eval()
    try:
        nats, tokens = summed_loss(model, batches, hardware, pause, ranks, enough)
        return HeldOutLoss(ranks.total(nats) / tokens, tokens)
    finally:
        model.train(training)


@torch.no_grad()
def summed_loss(
    model: LanguageModel,
    batches: EvaluationBatches,
    hardware: Hardware,
    pause: Callable[[float], None],
    ranks: Ranks,
    enough: Callable[[int], bool],
) -> tuple[float, int]:
    """Sums the losses in this rank's share of the rows, and counts the tokens of all rows."""
    total = torch.zeros((), dtype=torch.float64, device=hardware.device)
    tokens = 0
    state: State = ()
    with hardware.autocast():
        for chunk in batches.chunks(min(PLACES, SCORES // model.outputs)):
            pause(tokens / batches.answers)
            ours = ranks.rows(chunk.inputs.shape[1])
            if ours:  # else there are fewer rows than ranks
                inputs, targets = (
                    torch.from_numpy(part[:, ours.start :: ours.step]).to(hardware.device)
                    for part in (chunk.inputs, chunk.targets)
                )
                before = continued(model, state, len(ranks.rows(chunk.carried)), len(ours))
                scores, state = model(inputs, before)  # [S, B, V]
                if chunk.answers:
                    total += F.cross_entropy(
                        scores.float().flatten(0, 1),
                        targets.flatten(),
                        ignore_index=UNCOUNTED,
                        reduction="sum",
                    )
            tokens += int(chunk.answers)
            if chunk.answers and enough(tokens):
                break
    return float(total), tokens
