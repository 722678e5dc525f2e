"""The reader: hands the chunks of a training text to its steps, one after the other."""

from torch import Tensor

from training.data.batches import Chunk, Lanes
from training.hardware import Hardware

AHEAD = 65_536
"""About how many tokens of all lanes are made ready at a time."""


class Reader:
    """Makes several chunks at a time: the many small operations cost about as much as for one."""

    def __init__(self, lanes: Lanes, text: Tensor, hardware: Hardware) -> None:
        """Reads a text [n] as `as_tensor` gives it, wherever it lies."""
        self.lanes = lanes
        self.text = text
        self.hardware = hardware
        self.ahead = max(1, AHEAD // (len(lanes.ours) * lanes.config.length))
        """Chunks made ready at a time."""
        self._at = (-1, -1)
        """The epoch of what is ready, and its first chunk."""

    def chunk(self, epoch: int, number: int) -> Chunk:
        """A chunk of an epoch, both counted from 0, on the hardware's device."""
        begin = number - number % self.ahead
        if self._at != (epoch, begin):
            self._make_ready(epoch, begin)
        bounds = self.lanes.bounds
        first, end = bounds[number] - bounds[begin], bounds[number + 1] - bounds[begin]
        return Chunk(self._ready.inputs[first:end], self._ready.targets[first:end])

    def _make_ready(self, epoch: int, begin: int) -> None:
        stop = min(begin + self.ahead, self.lanes.chunks)
        read = self.lanes.stretch(self.text, epoch, begin, stop)
        self._ready = Chunk(self.hardware.taken(read.inputs), self.hardware.taken(read.targets))
        self._at = (epoch, begin)
