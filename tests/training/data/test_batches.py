import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.batches import RARE, REPEATS, Lanes, as_tensor, drawn, read
from training.data.chunk import Chunk
from training.data.config import BatchConfig
from training.data.corpus import ShortTextError
from training.data.reader import Reader
from training.hardware import Hardware

START, NEWLINE = 9, 0


def text_of(length):
    return np.random.default_rng(length).integers(0, 9, length).astype(np.uint8)


def chunks(lanes, number, ids=None):
    """The chunks of an epoch."""
    ids = text_of(lanes.length) if ids is None else ids
    text, beginnings = as_tensor(ids), lanes.beginnings(ids)
    return [lanes.chunk(text, beginnings, number, i) for i in range(lanes.chunks)]


def epoch(lanes, number):
    """All chunks of an epoch, one after the other."""
    each = chunks(lanes, number)
    carried = len(lanes.our_carried)
    assert [chunk.carried for chunk in each] == [0] + [carried] * (lanes.chunks - 1)
    assert [chunk.answers for chunk in each] == [chunk.targets.numel() for chunk in each]
    inputs, targets = (torch.cat([getattr(c, part) for c in each]) for part in ("inputs", "targets"))
    return Chunk(inputs, targets, 0, targets.numel())


@st.composite
def lanes(draw):
    config = BatchConfig(draw(st.integers(1, 6)), draw(st.integers(1, 12)), draw(st.floats(0, 0.5)))
    length = draw(st.integers(config.batch * config.length, 400))
    seed = draw(st.integers(0, 2**63 - 1))
    return Lanes(length, START, NEWLINE, config, seed)


@given(lanes(), st.integers(0, 1000))
def test_the_lanes_that_carry_their_state_make_up_the_text_from_some_place_on(lanes, number):
    carried = lanes.fresh.start
    joined = epoch(lanes, number).targets[:, :carried].T.ravel().numpy()
    n, text = lanes.length, text_of(lanes.length)
    assert len(joined) == carried * lanes.time
    assert n - len(joined) - len(lanes.fresh) * lanes.time < lanes.config.batch
    from_each_place = np.lib.stride_tricks.sliding_window_view(np.tile(text, 2), len(joined))
    assert (from_each_place == joined).all(-1).any()


@given(lanes(), st.integers(0, 1000))
def test_a_lane_is_fed_what_it_was_asked_for_one_step_before(lanes, number):
    whole, carried = epoch(lanes, number), lanes.fresh.start
    assert torch.equal(whole.inputs[1:, :carried], whole.targets[:-1, :carried])
    # The start token comes before the middle of a line only where nothing else would ever teach it.
    assert (whole.inputs[:, :carried] == START).any().item() == (not lanes.fresh)
    assert (whole.inputs[0] == START).all() or lanes.fresh
    for chunk in chunks(lanes, number):
        assert torch.equal(chunk.inputs[1:, carried:], chunk.targets[:-1, carried:])


@given(lanes(), st.integers(0, 1000))
def test_a_fresh_lane_reads_on_from_where_it_begins(lanes, number):
    text = text_of(lanes.length)
    ends = np.roll(text, 1) == NEWLINE
    ends[0] = True
    begun = np.flatnonzero(ends & (text != NEWLINE))
    if len(begun) * RARE < lanes.enough_beginnings:
        begun = np.arange(len(text))
    rolled = {place: np.roll(text, -place) for place in range(len(text))}
    for chunk in chunks(lanes, number):
        for fed, asked in zip(
            chunk.inputs.T[lanes.fresh.start :], chunk.targets.T[lanes.fresh.start :], strict=True
        ):
            places = begun if fed[0] == START else [p for p in rolled if text[p - 1] == fed[0]]
            assert any((rolled[place][: len(asked)] == asked.numpy()).all() for place in places)


@given(lanes(), st.integers(0, 1000), st.data())
def test_some_lanes_are_read_as_they_are_among_all(lanes, number, data):
    batch = lanes.config.batch
    ours = range(data.draw(st.integers(0, batch - 1)), batch, data.draw(st.integers(1, batch)))
    some = Lanes(lanes.length, START, NEWLINE, lanes.config, lanes.seed, ours)
    mine, whole = epoch(some, number), epoch(lanes, number)
    for part in ("inputs", "targets"):
        assert torch.equal(getattr(mine, part), getattr(whole, part)[:, list(ours)])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_ids_of_every_width_are_read_as_they_are(kind):
    ids = np.array([0, 1, np.iinfo(kind).max, np.iinfo(kind).max // 2 + 1], kind)
    places = torch.tensor([[3, 2], [1, 0]])
    assert read(as_tensor(ids), places).tolist() == ids[places.numpy()].tolist()


def test_numbers_are_drawn_by_splitmix64():
    # The first numbers of the published generator, seeded with 1234567 (its place 0 is our place 1).
    numbers = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert drawn(torch.arange(1, 4), 1234567).tolist() == [number >> 1 for number in numbers]


@given(lanes())
def test_chunks_cover_every_step_once_and_none_is_too_long(lanes):
    assert lanes.bounds[0] == 0
    assert lanes.bounds[-1] == lanes.time
    lengths = np.diff(lanes.bounds)
    assert min(lengths) > 0
    assert max(lengths) <= lanes.config.length
    assert max(lengths) - min(lengths) <= 1


def make(rate, seed=1, length=2000):
    return Lanes(length, START, NEWLINE, BatchConfig(4, 10, rate), seed)


def test_an_epoch_can_be_made_again_and_differs_from_the_others():
    first, again, other = (epoch(make(0.1), number) for number in (3, 3, 4))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)
    assert not torch.equal(first.targets, epoch(make(0.1, seed=2), 3).targets)


@pytest.mark.parametrize(
    ("batch", "rate", "fresh"),
    [(32, 0, 0), (1, 0.5, 0), (2, 0.01, 1), (3, 0.5, 1), (32, 0.01, 1), (32, 0.05, 2), (32, 0.5, 16)],
)
def test_a_share_of_the_lanes_is_fresh(batch, rate, fresh):
    config = BatchConfig(batch, 2, rate)
    assert config.fresh == fresh
    lanes = Lanes(1000, START, NEWLINE, config, seed=0)
    assert len(lanes.fresh) == len(lanes.our_fresh) == fresh
    assert [*lanes.our_carried, *lanes.our_fresh] == list(range(batch))
    each = [Lanes(1000, START, NEWLINE, config, 0, range(i, i + 1)) for i in range(batch)]
    assert [len(one.our_fresh) for one in each] == [0] * (batch - fresh) + [1] * fresh
    assert [len(one.our_carried) for one in each] == [1] * (batch - fresh) + [0] * fresh


def test_every_line_is_begun_as_often_as_any_other_however_long():
    lines = [[line] * (1 + 30 * (line % 2)) for line in range(1, 9)]
    ids = np.concatenate([[*line, NEWLINE] for _ in range(100) for line in lines]).astype(np.uint8)
    lanes = Lanes(len(ids), START, NEWLINE, BatchConfig(4, 4, 0.5), seed=1)
    firsts = np.concatenate([c.targets[0, 2:].numpy() for e in range(2) for c in chunks(lanes, e, ids)])
    counts = np.bincount(firsts, minlength=9)[1:]
    assert counts.sum() > 3000
    assert counts.min() > 0.8 * counts.mean()
    assert counts.max() < 1.2 * counts.mean()


@pytest.mark.parametrize("newline", [None, NEWLINE])
def test_of_a_text_without_lines_any_place_is_a_beginning(newline):
    ids = np.arange(1, 1001, dtype=np.uint16)
    ids[500] = NEWLINE
    lanes = Lanes(1000, 2000, newline, BatchConfig(4, 2, 0.5), seed=1)
    begun = [chunk for e in range(3) for chunk in chunks(lanes, e, ids)]
    assert all((chunk.inputs[0, 2:] == 2000).all() for chunk in begun)
    firsts = {int(first) for chunk in begun for first in chunk.targets[0, 2:]}
    assert len(firsts) > 300


def test_few_lines_are_begun_a_few_times_each_and_other_chunks_are_from_anywhere():
    lines = 8
    ids = np.arange(1, 1001, dtype=np.uint16)
    ids[124::125] = NEWLINE
    lanes = Lanes(1000, 2000, NEWLINE, BatchConfig(4, 2, 0.5), seed=1)
    begun = [chunk for e in range(10) for chunk in chunks(lanes, e, ids)]
    fed, asked = (torch.cat([getattr(c, part)[0, 2:] for c in begun]) for part in ("inputs", "targets"))
    started = fed == 2000
    assert set(asked[started].tolist()) == set(range(1, 1001, 125))
    assert int(started.sum()) == pytest.approx(10 * lines * REPEATS, rel=0.2)
    assert len(set(asked[~started].tolist())) > 800


def test_a_short_text_is_refused_with_the_numbers():
    with pytest.raises(ShortTextError, match=r"39 tokens.* 40 .*batch 4 x length 10.*--batch"):
        make(0.1, length=39)


@given(lanes(), st.data())
def test_chunks_are_the_same_however_many_are_made_ready(lanes, data):
    """In any order: a run may go on anywhere."""
    ids = text_of(lanes.length)
    text, beginnings = as_tensor(ids), lanes.beginnings(ids)
    reader = Reader(lanes, lambda: ids, Hardware(torch.device("cpu"), bfloat16=False, threads=1))
    reader.ahead = data.draw(st.integers(1, lanes.chunks + 1))
    places = st.tuples(st.integers(0, 3), st.integers(0, lanes.chunks - 1))
    for epoch, number in data.draw(st.lists(places, max_size=20)):
        mine, alone = reader.chunk(epoch, number), lanes.chunk(text, beginnings, epoch, number)
        assert torch.equal(mine.inputs, alone.inputs)
        assert torch.equal(mine.targets, alone.targets)
        assert (mine.carried, mine.answers) == (alone.carried, alone.answers)
        assert mine.carried == reader.carried(epoch, number), "of all ranks, of which there is one"
    assert reader.tokens_per_step * reader.chunks == pytest.approx(lanes.time * lanes.config.batch)
