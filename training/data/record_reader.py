"""The reader of records: hands their chunks to the steps of a training, one after the other."""

import torch

from charloom.records.batches import RecordBatches
from training.data.chunk import Chunk
from training.hardware import Hardware


class RecordReader:
    """The chunks of records as tensors on a device."""

    def __init__(self, batches: RecordBatches, hardware: Hardware) -> None:
        self.batches = batches
        self.hardware = hardware

    @property
    def chunks(self) -> int:
        """See Batches."""
        return self.batches.chunks

    @property
    def tokens_per_step(self) -> float:
        """See Batches."""
        return self.batches.tokens_per_step

    def chunk(self, epoch: int, number: int) -> Chunk:
        """See Batches."""
        chunk = self.batches.chunk(epoch, number)
        inputs, targets = map(torch.from_numpy, (chunk.inputs, chunk.targets))
        taken = self.hardware.taken
        return Chunk(taken(inputs), taken(targets), chunk.carried, chunk.answers)

    def carried(self, epoch: int, number: int) -> int:
        """See Batches."""
        return self.batches.carried(epoch, number)
