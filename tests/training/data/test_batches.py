import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.batches import BatchConfig, Chunk, Lanes, as_tensor, chosen, read
from training.data.corpus import ShortTextError
from training.data.reader import Reader
from training.hardware import Hardware

START, NEWLINE = 9, 0


def text_of(length):
    return np.random.default_rng(length).integers(0, 9, length).astype(np.uint8)


def epoch(lanes, number):
    """All chunks of an epoch, one after the other."""
    text = as_tensor(text_of(lanes.length))
    chunks = [lanes.chunk(text, number, i) for i in range(lanes.chunks)]
    return Chunk(*(torch.cat([getattr(c, part) for c in chunks]) for part in ("inputs", "targets")))


@st.composite
def lanes(draw):
    config = BatchConfig(draw(st.integers(1, 6)), draw(st.integers(1, 12)), draw(st.floats(0, 1)))
    length = draw(st.integers(config.batch * config.length, 400))
    seed = draw(st.integers(0, 2**63 - 1))
    return Lanes(length, START, NEWLINE, config, seed)


@given(lanes(), st.integers(0, 1000))
def test_the_lanes_make_up_the_text_from_some_place_on(lanes, number):
    joined = epoch(lanes, number).targets.T.ravel().numpy()
    n, text = lanes.length, text_of(lanes.length)
    assert n - len(joined) < lanes.config.batch
    from_each_place = np.lib.stride_tricks.sliding_window_view(np.tile(text, 2), len(joined))
    assert (from_each_place == joined).all(-1).any()


@given(lanes(), st.integers(0, 1000))
def test_inputs_are_the_targets_one_step_before_but_for_start_tokens(lanes, number):
    whole = epoch(lanes, number)
    assert (whole.inputs[0] == START).all()
    fed, before = whole.inputs[1:], whole.targets[:-1]
    started = fed == START
    assert torch.equal(fed[~started], before[~started])
    assert (before[started] == NEWLINE).all()


@given(lanes(), st.integers(0, 1000), st.data())
def test_some_lanes_are_read_as_they_are_among_all(lanes, number, data):
    batch = lanes.config.batch
    first = data.draw(st.integers(0, batch - 1))
    ours = range(first, data.draw(st.integers(first + 1, batch)))
    some = Lanes(lanes.length, START, NEWLINE, lanes.config, lanes.seed, ours)
    mine, whole = epoch(some, number), epoch(lanes, number)
    for part in ("inputs", "targets"):
        assert torch.equal(getattr(mine, part), getattr(whole, part)[:, ours.start : ours.stop])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_ids_of_every_width_are_read_as_they_are(kind):
    ids = np.array([0, 1, np.iinfo(kind).max, np.iinfo(kind).max // 2 + 1], kind)
    places = torch.tensor([[3, 2], [1, 0]])
    assert read(as_tensor(ids), places).tolist() == ids[places.numpy()].tolist()


def test_places_are_chosen_by_splitmix64():
    # The first numbers of the published generator, seeded with 1234567 (its place 0 is our place 1).
    numbers = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    for place, number in enumerate(numbers, 1):
        rate = (number >> 11) / 2**53
        assert not chosen(torch.tensor([place]), 1234567, rate).item()
        assert chosen(torch.tensor([place]), 1234567, rate + 2**-52).item()


@given(lanes())
def test_chunks_cover_every_step_once_and_none_is_too_long(lanes):
    assert lanes.bounds[0] == 0
    assert lanes.bounds[-1] == lanes.time
    lengths = np.diff(lanes.bounds)
    assert min(lengths) > 0
    assert max(lengths) <= lanes.config.length
    assert max(lengths) - min(lengths) <= 1


def make(rate, seed=1, length=20_000):
    return Lanes(length, START, NEWLINE, BatchConfig(4, 10, rate), seed)


def test_an_epoch_can_be_made_again_and_differs_from_the_others():
    first, again, other = (epoch(make(0.1), number) for number in (3, 3, 4))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)
    assert not torch.equal(first.targets, epoch(make(0.1, seed=2), 3).targets)


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0])
def test_the_start_token_begins_a_share_of_the_lines(rate):
    whole = epoch(make(rate), 0)
    lines = int((whole.targets[:-1] == NEWLINE).sum())
    started = int((whole.inputs[1:] == START).sum())
    assert started / lines == pytest.approx(rate, abs=0.02)


def test_other_epochs_begin_other_lines_with_the_start_token():
    turned = [epoch(make(0.5), number) for number in (0, 1)]
    begun = [set(whole.inputs[1:].eq(START).nonzero()[:, 0].tolist()) for whole in turned]
    assert begun[0] != begun[1]


def test_a_short_text_is_refused_with_the_numbers():
    with pytest.raises(ShortTextError, match=r"39 tokens.* 40 .*batch 4 x length 10.*--batch"):
        make(0.1, length=39)


@given(lanes(), st.data())
def test_chunks_are_the_same_however_many_are_made_ready(lanes, data):
    """In any order: a run may go on anywhere."""
    text = as_tensor(text_of(lanes.length))
    reader = Reader(lanes, text, Hardware(torch.device("cpu"), bfloat16=False, threads=1))
    reader.ahead = data.draw(st.integers(1, lanes.chunks + 1))
    places = st.tuples(st.integers(0, 3), st.integers(0, lanes.chunks - 1))
    for epoch, number in data.draw(st.lists(places, max_size=20)):
        mine, alone = reader.chunk(epoch, number), lanes.chunk(text, epoch, number)
        assert torch.equal(mine.inputs, alone.inputs)
        assert torch.equal(mine.targets, alone.targets)
