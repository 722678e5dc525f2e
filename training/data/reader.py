"""The reader: hands the chunks of a training text to its steps, one after the other."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from charloom.vocabulary import Ids
from training.data.batches import Lanes, as_tensor
from training.data.chunk import Chunk
from training.data.token_file import release
from training.hardware import Hardware

AHEAD = {"cuda": 65_536, "cpu": 6_144}
"""About how many tokens of all lanes are made ready at a time, by the device that trains. Of a text that is
mapped from a file the system maps 64 KiB and more for each line that is begun."""


class Reader:
    """Makes several chunks at a time: the many small operations cost about as much as for one."""

    def __init__(self, lanes: Lanes, load: Callable[[], Ids], hardware: Hardware) -> None:
        """Reads a text in lanes; `load` returns its token ids [n], which may be mapped from a file."""
        self.lanes = lanes
        self.hardware = hardware
        self.ahead = max(1, AHEAD[hardware.device.type] // (len(lanes.ours) * lanes.config.length))
        """Chunks made ready at a time."""
        self._load = load
        self._at = (-1, -1)
        """The epoch of what is ready, and its first chunk."""

    @property
    def chunks(self) -> int:
        """See Batches."""
        return self.lanes.chunks

    @property
    def tokens_per_step(self) -> float:
        """See Batches."""
        return self.lanes.tokens_per_step

    def carried(self, epoch: int, number: int) -> int:  # noqa: ARG002
        """See Batches."""
        return self.lanes.fresh.start if number else 0

    def chunk(self, epoch: int, number: int) -> Chunk:
        """See Batches."""
        begin = number - number % self.ahead
        if self._at != (epoch, begin):
            self._make_ready(epoch, begin)
        bounds = self.lanes.bounds
        first, end = bounds[number] - bounds[begin], bounds[number + 1] - bounds[begin]
        inputs, targets = (part[first:end] for part in self._ready)
        return self.lanes.as_chunk(inputs, targets, number)

    @cached_property
    def _ids(self) -> Ids:
        return self._load()

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        """The text [n], and where in it lines begin [m], wherever they are kept."""
        text = self.hardware.held(as_tensor(self._ids))
        return text, self.lanes.beginnings(self._ids).to(text.device)

    def _make_ready(self, epoch: int, begin: int) -> None:
        stop = min(begin + self.ahead, self.lanes.chunks)
        read = self.lanes.stretch(*self._tensors, epoch, begin, stop)
        release(self._ids)  # fresh lanes read from all over the text, and would soon hold all of it
        self._ready = [self.hardware.taken(part) for part in read]
        self._at = (epoch, begin)
