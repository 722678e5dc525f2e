"""The reader of records hands out what the batches say, as tensors."""

import numpy as np
import pytest
import torch

from charloom.records.batches import RecordBatches, RecordIds
from training.data.record_reader import RecordReader
from training.hardware import Hardware

CPU = Hardware(torch.device("cpu"), bfloat16=False, threads=1)


def batches(rank: int = 0, world: int = 1) -> RecordBatches:
    """Batches of records of 1 to 30 ids, of which some go on in further chunks."""
    counts = np.arange(1, 31)
    ids = np.random.default_rng(1).integers(0, 9, counts.sum()).astype(np.uint16)
    records = RecordIds(lambda: ids, np.cumsum(counts) - counts, counts, labels=0, start=9)
    return RecordBatches(records, batch=4, length=8, seed=1, rank=rank, world=world)


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 3), (2, 3)])
def test_chunks_are_those_of_the_batches_in_any_order(rank: int, world: int) -> None:
    of = batches(rank, world)
    reader = RecordReader(batches(rank, world), CPU)
    assert (reader.chunks, reader.tokens_per_step) == (of.chunks, of.tokens_per_step)
    for epoch, number in ((1, 0), (0, of.chunks - 1), (0, 0), (1, 1)):
        mine, expected = reader.chunk(epoch, number), of.chunk(epoch, number)
        for part in ("inputs", "targets"):
            tensor = getattr(mine, part)
            assert tensor.dtype == torch.int64
            assert tensor.tolist() == getattr(expected, part).tolist()
        assert (mine.carried, mine.answers) == (expected.carried, expected.answers)
        assert reader.carried(epoch, number) == of.carried(epoch, number)


def test_rows_that_go_on_are_counted_in_all_processes() -> None:
    readers = [RecordReader(batches(rank, 3), CPU) for rank in range(3)]
    for number in range(readers[0].chunks):
        of_all = readers[0].carried(0, number)
        each = [reader.chunk(0, number).carried for reader in readers]
        assert of_all <= sum(each) < of_all + 3, "some have a row that fills up"
    assert any(readers[0].carried(0, number) for number in range(readers[0].chunks))
