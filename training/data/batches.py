"""Batches: the training text as parallel lanes, cut into chunks for truncated backpropagation.

Most lanes read the text in its order and carry their state on. The others are fresh: in every chunk they
begin another line with the start token, as a stream does that is given no prompt. Everything random here
follows from the seed, the epoch and the place in the text or the number of the chunk, so any chunk of any
epoch can be made again, of all lanes or of some, on any device.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from charloom.vocabulary import Ids
from training.data.beginnings import MAX_BEGINNINGS, any_places, line_beginnings
from training.data.chunk import Chunk
from training.data.config import BatchConfig
from training.data.corpus import ShortTextError

REPEATS = 4
"""Times an epoch that a line may be begun, on the average."""
RARE = 16
"""Times that many more than all lines may be begun that lines are too rare to count as beginnings."""


class Lanes:
    """A training text in B lanes of T tokens, of which some or all are ours to read.

    An epoch is as many tokens as the text has. Each turns the text like a wheel by a random offset and
    deals it out to the lanes that carry their state, T tokens to each; what is left, as many tokens as the
    other lanes read and fewer than B more, waits for another epoch. So lanes and chunks begin elsewhere in
    each epoch, and no place of the text is always where the state is forgotten or the gradient ends: what
    Merity et al. 2017 draw random lengths of chunks for.

    The last lanes are fresh: in each chunk such a lane reads on from the beginning of a line, which is drawn
    at random among all lines, and its state is to be the initial one.
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
        self.fresh = range(config.batch - config.fresh, config.batch)
        """The lanes of all that begin afresh in every chunk."""
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

    @cached_property
    def our_fresh(self) -> list[int]:
        """Those of our lanes that begin every chunk with the initial state, the last ones."""
        return [lane for lane in self.ours if lane in self.fresh]

    @cached_property
    def our_carried(self) -> list[int]:
        """Those of our lanes that carry their state."""
        return [lane for lane in self.ours if lane not in self.fresh]

    def beginnings(self, ids: Ids) -> Tensor:
        """Returns places [m] of a text [n], int64, that our fresh lanes may begin at with the start token.

        They are where lines begin; where lines are as long as in a text that is all one line, any place.
        """
        if not self.our_fresh:
            return torch.zeros(0, dtype=torch.int64)
        places = line_beginnings(ids, self.newline) if self.newline is not None else any_places(self.length)
        if len(places) * RARE < self.enough_beginnings:
            places = any_places(self.length)
        return torch.from_numpy(places)

    @property
    def enough_beginnings(self) -> int:
        """How many beginnings are enough for all fresh lanes of an epoch, and a table always holds."""
        return min(-(-len(self.fresh) * self.chunks // REPEATS), MAX_BEGINNINGS // 2)

    def chunk(self, text: Tensor, beginnings: Tensor, epoch: int, number: int) -> Chunk:
        """A chunk of an epoch, both counted from 0; see `stretch`."""
        return self.as_chunk(*self.stretch(text, beginnings, epoch, number, number + 1), number)

    def as_chunk(self, inputs: Tensor, targets: Tensor, number: int) -> Chunk:
        """The chunk of this number in an epoch, of its inputs and targets; at first all lanes are fresh."""
        return Chunk(inputs, targets, len(self.our_carried) if number else 0, targets.numel())

    def stretch(
        self, text: Tensor, beginnings: Tensor, epoch: int, begin: int, stop: int
    ) -> tuple[Tensor, Tensor]:
        """The inputs and targets [S, B] of the chunks of an epoch from `begin` on, up to `stop`.

        Args:
            text: the text [n] as `as_tensor` gives it.
            beginnings: what `beginnings` gives for it, on its device.
            epoch: which, counted from 0.
            begin: the first chunk.
            stop: the chunk after the last one.
        """
        random = np.random.default_rng([self.seed, epoch])
        offset, key = int(random.integers(self.length)), int(random.integers(2**63))
        steps = torch.arange(self.bounds[begin], self.bounds[stop], device=text.device)[:, None]  # [S, 1]
        parts = [self.carried(text, offset, steps)]
        if self.our_fresh:
            parts.append(self.begun(text, beginnings, key, steps, begin, stop))
        inputs, targets = (torch.cat(of_lanes, 1) for of_lanes in zip(*parts, strict=True))
        return inputs, targets

    def carried(self, text: Tensor, offset: int, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of our lanes that carry their state, at some steps [S, 1] of an epoch.

        A lane is fed the token before each that it is asked for. Only where no lane is fresh, it begins the
        epoch with the start token: a network is to know it, but not from the middle of a line.
        """
        lanes = torch.tensor(self.our_carried, dtype=torch.int64, device=text.device)
        places = torch.cat([steps[:1] - 1, steps]) + lanes * self.time + offset  # [S + 1, B - F]
        tokens = read(text, places % self.length)
        inputs, targets = tokens[:-1], tokens[1:]
        return inputs if self.fresh else inputs.masked_fill(steps == 0, self.start), targets

    def begun(
        self, text: Tensor, beginnings: Tensor, key: int, steps: Tensor, begin: int, stop: int
    ) -> tuple[Tensor, Tensor]:
        """Inputs and targets of our fresh lanes, at the steps [S, 1] of some chunks of an epoch.

        Where the text has too few lines, so that the same few would be learnt by heart, a share of the chunks
        are from anywhere, and begin with the token before them.
        """
        numbers = torch.arange(begin, stop, device=text.device)[:, None]  # [C, 1]
        lanes = torch.tensor(self.our_fresh, device=text.device)
        draws = drawn(numbers * self.config.batch + lanes, key)  # [C, F]
        lines = max(len(beginnings), self.enough_beginnings)
        line, anywhere = draws % lines, draws // lines % self.length  # [C, F]
        known = line < len(beginnings)
        firsts = torch.where(known, beginnings[line.clamp(max=len(beginnings) - 1)], anywhere)  # [C, F]
        chunk = ((steps[:, 0] + 1) * self.chunks - 1) // self.time - begin  # [S]
        within = steps - self.time * numbers[chunk] // self.chunks  # [S, 1]
        places = firsts[chunk] + within  # [S, F]
        inputs, targets = (read(text, at % self.length) for at in (places - 1, places))
        return inputs.masked_fill(known[chunk] & (within == 0), self.start), targets


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


def drawn(places: Tensor, key: int) -> Tensor:
    """A random number from 0 to 2**63 - 1, int64, for each place, int64.

    It depends on nothing but the key and the place: the upper 63 bits of SplitMix64 (Steele, Lea and Flood
    2014, "Fast splittable pseudorandom number generators"), in which the place counts.
    """
    bits = places * GOLDEN + key
    bits = (bits ^ shifted(bits, 30)) * FIRST
    bits = (bits ^ shifted(bits, 27)) * SECOND
    return shifted(bits ^ shifted(bits, 31), 1)


def shifted(bits: Tensor, count: int) -> Tensor:
    """64 bits shifted to the right, with zeros coming in from the left."""
    return (bits >> count) & ((1 << 64 - count) - 1)


GOLDEN, FIRST, SECOND = (
    constant - 2**64 for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
"""SplitMix64's constants, as signed numbers."""
