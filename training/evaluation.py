"""Evaluation: a model's loss over the whole of a held-out text.

The protocol: the text is cut into up to 32 lanes of at least 2,048 characters, read side by side.
The first lane begins as a fresh stream does, with the start token and a zero state. Every other
lane begins with a zero state too, but first reads the 256 characters before its piece, which do
not count. From there each lane carries its state to its end. Every character of the text counts
once, and the loss is the mean of their negative log-probabilities in nats, summed in float32 or
better; the products run in the precision of the training.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.corpus import Ids
from training.hardware import Hardware
from training.model import RecurrentModel

LANES = 32
PIECE = 2_048
PRIME = 256
CHUNK = 256
"""Steps that go through the model at a time."""

UNCOUNTED = -100
"""The target that fills a short last lane and does not count."""


def held_out_loss(
    model: RecurrentModel,
    text: Ids,
    start: int,
    hardware: Hardware,
    pause: Callable[[float], None] = lambda _: None,
) -> float:
    """The loss over a text [n], in nats a character.

    Before each chunk it calls `pause` with the share of the text that is done; what that raises
    ends the evaluation, and leaves the model as it was.
    """
    training = model.training
    model.eval()
    try:
        return summed_loss(model, text, start, hardware, pause) / len(text)
    finally:
        model.train(training)


@torch.no_grad()
def summed_loss(
    model: RecurrentModel, text: Ids, start: int, hardware: Hardware, pause: Callable[[float], None]
) -> float:
    """The sum of the losses of all characters of a text [n]."""
    lanes = max(1, min(LANES, len(text) // PIECE))
    inputs, targets, prime = cut(text, start, lanes)
    total = torch.zeros((), dtype=torch.float64, device=hardware.device)
    with hardware.autocast():
        state = primed_state(model, prime.to(hardware.device))
        for first in range(0, len(inputs), CHUNK):
            pause(first / len(inputs))
            x, y = inputs[first : first + CHUNK], targets[first : first + CHUNK]
            scores, state = model(x.to(hardware.device).long(), state)  # [S, B, V]
            total += F.cross_entropy(
                scores.float().flatten(0, 1),
                y.to(hardware.device).flatten(),
                ignore_index=UNCOUNTED,
                reduction="sum",
            )
    return float(total)


def cut(text: Ids, start: int, lanes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs and targets [T, B] of every lane, and what primes all but the first [P, B - 1]."""
    time = -(-len(text) // lanes)
    fill = lanes * time - len(text)
    fed = np.concatenate([[start], text[:-1], np.zeros(fill, np.int64)])  # [T * B]
    wanted = np.concatenate([text, np.full(fill, UNCOUNTED)])
    firsts = np.arange(1, lanes) * time
    prime = fed[np.arange(-min(PRIME, time), 0)[:, None] + firsts]
    inputs, targets = (torch.from_numpy(ids.reshape(lanes, time).T.copy()) for ids in (fed, wanted))
    return inputs, targets, torch.from_numpy(prime)


def primed_state(model: RecurrentModel, prime: Tensor) -> tuple[Tensor, ...]:
    """The state in which each lane begins, from what primes all but the first [P, B - 1]."""
    first = model.initial_state(1)
    if not prime.shape[1]:
        return first
    _, others = model(prime, model.initial_state(prime.shape[1]))
    return tuple(torch.cat([a, b.to(a)], 1) for a, b in zip(first, others, strict=True))
