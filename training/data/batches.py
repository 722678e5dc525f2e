"""Batches: the training text as parallel lanes, cut into chunks for truncated backpropagation.

Everything random here follows from the seed, the epoch and the place in
the text, so any chunk of any epoch can be made again, of all lanes or of some, on any device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charloom.vocabulary import Ids
from training.data.config import BatchConfig
from training.data.corpus import ShortTextError


@dataclass(frozen=True)
class Chunk:
    """What lanes are fed in a step, and what they should answer, both int64 [S, B]."""

    inputs: Tensor
    targets: Tensor


class Lanes:
    """A training text in B lanes of T tokens, of which some or all are ours to read.

    Each epoch turns the text like a wheel by a random offset and deals it out to the lanes, lane
    after lane; what does not fill all lanes, fewer than B tokens, waits for another epoch. So lanes
    and chunks begin elsewhere in each epoch, and no place of the text is always where the state is
    forgotten or the gradient ends: what Merity et al. 2017 draw random lengths of chunks for.
    """

    def __init__(
        self,
        length: int,
        start: int,
        newline: int | None,
        config: BatchConfig,
        seed: int,
        ours: range | None = None,
    ) -> None:
        """Takes the text's tokens, the start token, and the token that is a newline where there is one.

        Raises:
            ShortTextError: the text does not fill one chunk of every lane.
        """
        needed = config.batch * config.length
        if length < needed:
            raise ShortTextError(
                f"the training part has {length:,} token{'s'[: length != 1]}, and one step "
                f"takes {needed:,} (batch {config.batch} x length {config.length}): "
                "use a longer text, or lower --batch or --length"
            )
        self.length = length
        self.start = start
        self.newline = newline
        self.config = config
        self.seed = seed
        self.ours = range(config.batch) if ours is None else ours
        """The lanes that chunks are made of."""
        self.time = length // config.batch
        chunks = -(-self.time // config.length)
        self.bounds = [self.time * i // chunks for i in range(chunks + 1)]
        """Where chunks begin and end: as even as can be, none longer than `length`."""

    @property
    def chunks(self) -> int:
        """Chunks of an epoch."""
        return len(self.bounds) - 1

    @property
    def tokens_per_step(self) -> float:
        """Tokens of all lanes in a chunk, on the average of an epoch."""
        return self.time * self.config.batch / self.chunks

    def epochs(self, step: int) -> float:
        """Epochs that so many steps are."""
        return step / self.chunks

    def chunk(self, text: Tensor, epoch: int, number: int) -> Chunk:
        """A chunk of an epoch, both counted from 0, of a text [n] as `as_tensor` gives it, on its device."""
        return self.stretch(text, epoch, number, number + 1)

    def stretch(self, text: Tensor, epoch: int, begin: int, stop: int) -> Chunk:
        """The chunks of an epoch from `begin` on, up to `stop`, as one.

        A lane is fed the start token, then each token it has just been asked for; at a share
        of line beginnings the start token stands in place of the newline.
        """
        random = np.random.default_rng([self.seed, epoch])
        offset, key = int(random.integers(self.length)), int(random.integers(2**63))
        first, end = self.bounds[begin], self.bounds[stop]
        steps = torch.arange(first - 1, end, device=text.device)[:, None]  # [S + 1, 1]
        lanes = torch.arange(self.ours.start, self.ours.stop, device=text.device)
        places = steps + lanes * self.time  # [S + 1, B], where on the wheel
        tokens = read(text, (places + offset) % self.length)
        inputs, targets = tokens[:-1], tokens[1:]
        if self.newline is not None and self.config.start_rate:
            begins = (inputs == self.newline) & chosen(places[:-1], key, self.config.start_rate)
            inputs = inputs.masked_fill(begins, self.start)
        if first == 0:
            inputs = inputs.masked_fill(steps[:-1] < 0, self.start)
        return Chunk(inputs, targets)


def as_tensor(ids: Ids) -> Tensor:
    """Token ids [n] as a tensor over the same memory, to be read with `read`.

    PyTorch does little with unsigned types of more than a byte, so their bits are taken as signed.
    """
    if ids.dtype == np.uint8:
        return torch.from_numpy(ids)
    return torch.from_numpy(ids.view(f"i{ids.itemsize}"))


def read(text: Tensor, places: Tensor) -> Tensor:
    """The token ids, int64, at some places of a text."""
    return text[places].long() & ((1 << 8 * text.itemsize) - 1)


def chosen(places: Tensor, key: int, rate: float) -> Tensor:
    """Whether each place, int64, is among a share `rate` of them, drawn at random by a key.

    The number drawn for a place depends on nothing but the key and the place: SplitMix64 (Steele, Lea
    and Flood 2014, "Fast splittable pseudorandom number generators"), in which the place counts.
    """
    bits = places * GOLDEN + key
    bits = (bits ^ shifted(bits, 30)) * FIRST
    bits = (bits ^ shifted(bits, 27)) * SECOND
    bits = bits ^ shifted(bits, 31)
    return shifted(bits, 11) < int(rate * 2**53)


def shifted(bits: Tensor, count: int) -> Tensor:
    """64 bits shifted to the right, with zeros coming in from the left."""
    return (bits >> count) & ((1 << 64 - count) - 1)


GOLDEN, FIRST, SECOND = (
    constant - 2**64 for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
"""SplitMix64's constants, as signed numbers."""
