"""The reader: hands the chunks of a training text to its steps, one after the other."""

from charloom.vocabulary import Ids
from training.data.batches import Chunk, Lanes, as_tensor
from training.data.token_file import release
from training.hardware import Hardware

AHEAD = {"cuda": 65_536, "cpu": 6_144}
"""About how many tokens of all lanes are made ready at a time, by where the text lies. Of one that is mapped
from a file the system maps 64 KiB and more for each line that is begun."""


class Reader:
    """Makes several chunks at a time: the many small operations cost about as much as for one."""

    def __init__(self, lanes: Lanes, ids: Ids, hardware: Hardware) -> None:
        """Takes the text's token ids [n], which may be mapped from a file."""
        self.lanes = lanes
        self.ids = ids
        self.text = hardware.held(as_tensor(ids))
        self.beginnings = lanes.beginnings(ids).to(self.text.device)
        self.hardware = hardware
        self.ahead = max(1, AHEAD[self.text.device.type] // (len(lanes.ours) * lanes.config.length))
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
        release(self.ids)  # fresh lanes read from all over the text, and would soon hold all of it
        self._ready = Chunk(self.hardware.taken(read.inputs), self.hardware.taken(read.targets))
        self._at = (epoch, begin)
