"""The reader: hands the chunks of a training text to its steps, one after the other."""

from charloom.vocabulary import Ids
from training.data.batches import Chunk, Lanes, as_tensor
from training.hardware import Hardware

AHEAD = 65_536
"""About how many tokens of all lanes are made ready at a time."""


class Reader:
    """Makes several chunks at a time: the many small operations cost about as much as for one."""

    def __init__(self, lanes: Lanes, ids: Ids, hardware: Hardware) -> None:
        """Takes the text's token ids [n], which may be mapped from a file."""
        self.lanes = lanes
        self.text = hardware.held(as_tensor(ids))
        self.beginnings = lanes.beginnings(ids).to(self.text.device)
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
        read = self.lanes.stretch(self.text, self.beginnings, epoch, begin, stop)
        self._ready = Chunk(self.hardware.taken(read.inputs), self.hardware.taken(read.targets))
        self._at = (epoch, begin)
