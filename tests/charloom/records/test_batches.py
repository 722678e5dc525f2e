from itertools import count, takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.chunk import UNCOUNTED
from charloom.records.batches import RecordBatches, RecordIds

END, START, LABEL = 9, 10, 11


def records_of(lengths, labels=0):
    """Records of random digits of these lengths; the n-th begins with the label LABEL + n % 3."""
    random = np.random.default_rng(len(lengths))
    each = [
        np.concatenate([[LABEL + i % 3] * labels, random.integers(0, 9, n), [END]]).astype(np.uint8)
        for i, n in enumerate(lengths)
    ]
    counts = np.array(list(map(len, each)))
    return RecordIds(lambda: np.concatenate(each), np.cumsum(counts) - counts, counts, labels, START), each


@st.composite
def batches(draw):
    lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=30))
    labels = draw(st.integers(0, 2))
    records, each = records_of(lengths, labels)
    sizes = draw(st.integers(1, 6)), draw(st.integers(1, 12)), draw(st.integers(0, 99))
    return RecordBatches(records, *sizes), each


def rows_of(made, epoch, number_of_rows=None):
    """What each row of an epoch is fed and answers, from where its state is fresh to where it ends."""
    rows, begun = [], []
    for number in range(made.chunks):
        chunk = made.chunk(epoch, number)
        assert chunk.carried in (0, chunk.inputs.shape[1])
        assert chunk.answers == (chunk.targets != UNCOUNTED).sum()
        if not chunk.carried:
            rows += begun
            begun = [([], []) for _ in range(chunk.inputs.shape[1])]
        for b, (fed, answers) in enumerate(begun[: chunk.inputs.shape[1]]):
            fed += chunk.inputs[:, b].tolist()
            answers += chunk.targets[:, b].tolist()
    return rows + begun


@given(batches(), st.integers(0, 5))
def test_an_epoch_has_every_record_once_from_a_fresh_state_to_its_end(made, epoch):
    made, each = made
    labels = made.records.labels
    read = []
    for fed, answers in rows_of(made, epoch):
        stop = answers.index(END) + 1
        assert set(answers[stop:]) <= {UNCOUNTED}, "nothing counts after the end"
        assert answers[:labels] == [UNCOUNTED] * labels
        assert fed[labels] == START
        assert fed[labels + 1 : stop] == answers[labels : stop - 1]
        read.append(bytes(fed[:labels] + answers[labels:stop]))
    assert sorted(read) == sorted(map(bytes, each))


@given(batches())
def test_what_is_counted_is_as_announced(made):
    made, _ = made
    chunks = [made.chunk(0, number) for number in range(made.chunks)]
    assert sum(c.answers for c in chunks) == made.records.answers
    assert made.tokens_per_step == made.records.answers / made.chunks
    computed = sum(c.inputs.size for c in chunks)
    assert made.density == made.records.counts.sum() / computed


@given(batches(), st.integers(1, 4))
def test_processes_share_the_rows_of_every_chunk(made, world):
    alone, _ = made
    records, seed = alone.records, alone.seed
    whole = RecordBatches(records, 4 * world, 8, seed)
    parts = [RecordBatches(records, 4 * world, 8, seed, rank, world) for rank in range(world)]
    for number in takewhile(lambda n: n < parts[0].chunks, count()):
        chunks = [part.chunk(1, number) for part in parts]
        assert len({c.inputs.shape for c in chunks}) == 1
        assert len({(c.carried, c.answers) for c in chunks}) == 1
        # row i of all processes is row i // world of process i % world
        joined = np.stack([c.targets for c in chunks], 2).reshape(len(chunks[0].targets), -1)
        assert chunks[0].answers * world == (joined != UNCOUNTED).sum()
        if parts[0].groups.tolist() == whole.groups.tolist():
            alive = whole.chunk(1, number).targets
            assert (joined[:, : alive.shape[1]] == alive).all()


def test_epochs_differ_and_can_be_made_again():
    records, _ = records_of([5] * 40 + [9] * 40)
    first, again = RecordBatches(records, 4, 10, 1), RecordBatches(records, 4, 10, 1)

    def epoch(made, number):
        return np.concatenate([made.chunk(number, i).targets.ravel() for i in range(made.chunks)])

    zero, one = epoch(first, 0), epoch(first, 1)
    assert (epoch(first, 0) == zero).all()
    assert (epoch(again, 1) == one).all()
    assert zero.tolist() != one.tolist()


@pytest.mark.parametrize("typical", [10, 40, 200])
def test_little_is_computed_for_nothing(typical):
    lengths = np.random.default_rng(1).lognormal(np.log(typical), 0.5, 3000).astype(int)
    records, _ = records_of(lengths)
    made = RecordBatches(records, 32, 64, 1)
    assert made.density > 0.9
    largest = max(made.chunk(0, number).inputs.size for number in range(made.chunks))
    assert largest <= 32 * 64
