"""Batches of records: records of similar length side by side, each begun in a fresh state.

A recurrent kernel cannot reset the state of a row within a chunk, so rows begin and end with chunks. Records
are sorted by length and cut into groups of about equally many tokens: many short records, or few long ones.
Long ones go on in further chunks with their state, and rows whose record has ended are left out. A group has
the same lengths in every epoch; which records of a length, and the order of the groups, is drawn anew.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from charloom.chunk import UNCOUNTED, TokenChunk
from charloom.evaluation_lanes import CHUNK, MAX_LANES
from charloom.vocabulary import Ids, Tokens

Counts = npt.NDArray[np.int64]


@dataclass(eq=False)
class RecordIds:
    """R records as token ids: of each its labels, its text and its end."""

    load: Callable[[], Ids]
    """Returns the ids of all records [n], of any integer type."""
    begins: Counts
    """Where in these each record begins: int64 [R]."""
    counts: Counts
    """Its number of ids: int64 [R]."""
    labels: int
    """Its first so many ids are labels, which are fed before the start token and never answered."""
    start: int
    """The start token."""

    @cached_property
    def ids(self) -> Ids:
        """The ids of all records [n]."""
        return self.load()

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def answers(self) -> int:
        """The number of tokens that are answered."""
        return int(self.counts.sum()) - len(self) * self.labels


class RecordBatches:
    """Records in groups of about `batch` x `length` tokens, and in chunks of at most `length` steps."""

    def __init__(
        self,
        records: RecordIds,
        batch: int,
        length: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Divides at least one record into groups.

        Args:
            records: the records.
            batch: rows of a group of long records; of short ones there are more.
            length: most steps of a chunk.
            seed: draws what differs between epochs.
            rank: the process that the rows are for: of each group it has every `world`-th, from this on.
            world: processes that share each group.
        """
        assert len(records), "there is a record"
        self.records = records
        self.seed = seed
        self.rank, self.world = rank, world
        self.sorted_counts = np.sort(records.counts)
        self.groups = group_bounds(self.sorted_counts, batch * length, length, world)
        """Where in the sorted records each group begins, and where the last ends: int64 [G + 1]."""
        self.longest = self.sorted_counts[self.groups[1:] - 1]  # [G]
        self.chunks_of = -(-self.longest // length)  # [G]
        self._epoch = -1

    @cached_property
    def chunks(self) -> int:
        """Chunks of an epoch."""
        return int(self.chunks_of.sum())

    @property
    def tokens_per_step(self) -> float:
        """Tokens that are answered in a chunk, on the average of an epoch."""
        return self.records.answers / self.chunks

    @cached_property
    def density(self) -> float:
        """The share of real tokens in what is computed, from 0 to 1."""
        computed = 0
        for group in range(len(self.longest)):
            for inner in range(int(self.chunks_of[group])):
                begin, end = self._bounds(group, inner)
                rows = -(-self._alive(group, begin) // self.world)
                computed += rows * self.world * (end - begin)
        return int(self.records.counts.sum()) / computed

    def chunk(self, epoch: int, number: int) -> TokenChunk:
        """Returns a chunk of an epoch, both counted from 0."""
        group, begin, end = self._place(epoch, number)
        members = self._sorted[self.groups[group] : self.groups[group + 1]][::-1]  # the longest first
        counts = self.records.counts[members]
        alive = self._alive(group, begin)
        answered = np.minimum(counts[:alive], end) - np.maximum(begin, min(self.records.labels, end))
        rows = -(-alive // self.world)
        inputs, targets = self._read(members[:alive][self.rank :: self.world], begin, end, rows)
        return TokenChunk(inputs, targets, rows if begin else 0, int(answered.sum()) / self.world)

    def carried(self, epoch: int, number: int) -> int:
        """Returns how many rows of all processes begin a chunk with the state after the chunk before."""
        group, begin, _ = self._place(epoch, number)
        return self._alive(group, begin) if begin else 0

    def _place(self, epoch: int, number: int) -> tuple[int, int, int]:
        """Returns the group of a chunk, and the steps of its records at which it begins and ends."""
        if epoch != self._epoch:
            self._shuffle(epoch)
        place = int(np.searchsorted(self._ends, number, "right"))
        group = int(self._order[place])
        inner = number - int(self._ends[place] - self.chunks_of[group])
        return group, *self._bounds(group, inner)

    def _alive(self, group: int, step: int) -> int:
        """Returns how many records of a group have not ended before a step."""
        counts = self.sorted_counts[self.groups[group] : self.groups[group + 1]]
        return len(counts) - int(np.searchsorted(counts, step, "right"))

    def _shuffle(self, epoch: int) -> None:
        """Draws the order of an epoch: of the records of a length, and of the groups."""
        random = np.random.default_rng([self.seed, epoch])
        keys = random.random(len(self.records), dtype=np.float32)
        self._sorted = np.lexsort((keys, self.records.counts))  # [R]
        self._order = random.permutation(len(self.longest))  # [G]
        self._ends = np.cumsum(self.chunks_of[self._order])  # [G]
        self._epoch = epoch

    def _bounds(self, group: int, inner: int) -> tuple[int, int]:
        """Returns where a chunk of a group begins and ends; all of them are as even as can be."""
        longest, chunks = int(self.longest[group]), int(self.chunks_of[group])
        return longest * inner // chunks, longest * (inner + 1) // chunks

    def _read(self, members: Counts, begin: int, end: int, rows: int) -> tuple[Tokens, Tokens]:
        """Returns inputs and targets of steps `begin` to `end` of records, filled up to so many rows."""
        records = self.records
        steps = np.arange(begin, end)[:, None]  # [S, 1]
        inputs = np.full((end - begin, rows), records.start, np.int64)
        targets = np.full((end - begin, rows), UNCOUNTED, np.int64)
        if not len(members):
            return inputs, targets
        real = steps < records.counts[members]  # [S, B]
        # A label is fed as it stands, and a token of the text in the step after the one that answers it.
        fed = np.where(steps < records.labels, steps, steps - 1)
        places = np.where(real, records.begins[members] + fed.clip(0), 0)
        read = records.ids[places].astype(np.int64)
        inputs[:, : len(members)] = np.where(real & (steps != records.labels), read, records.start)
        answers = real & (steps >= records.labels)
        wanted = records.ids[np.where(answers, records.begins[members] + steps, 0)].astype(np.int64)
        targets[:, : len(members)] = np.where(answers, wanted, UNCOUNTED)
        return inputs, targets


class EvaluationRecords:
    """Records to be measured, each from a fresh state to its end."""

    def __init__(self, records: RecordIds) -> None:
        self.records = records

    @property
    def answers(self) -> int:
        """See EvaluationBatches."""
        return self.records.answers

    def chunks(self, places: int = MAX_LANES * CHUNK) -> Iterator[TokenChunk]:
        """See EvaluationBatches; the first chunks have records from everywhere."""
        length = max(1, min(CHUNK, places))
        batches = RecordBatches(self.records, max(1, places // length), length, seed=0)
        for number in range(batches.chunks):
            yield batches.chunk(0, number)


def group_bounds(counts: Counts, tokens: int, length: int, world: int) -> Counts:
    """Cuts sorted counts [R] into groups whose chunks have at most so many tokens, but at least `world` rows.

    Returns where each group begins, and where the last ends: int64 [G + 1].
    """
    steps = -(-counts // -(-counts // length))  # [R], of a chunk of a group whose longest record is this one
    bounds = [0]
    while (begin := bounds[-1]) < len(counts):
        low, high = begin + 1, len(counts)
        while low < high:  # an end at which the rows are not too many, and hardly too few
            middle = (low + high + 1) // 2
            if (middle - begin) * int(steps[middle - 1]) <= tokens:
                low = middle
            else:
                high = middle - 1
        bounds.append(min(len(counts), max(low, begin + world)))
    return np.array(bounds, np.int64)
