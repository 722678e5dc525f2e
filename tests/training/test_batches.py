import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.batches import BatchConfig, Lanes
from training.corpus import ShortTextError

START, NEWLINE = 9, 0


@st.composite
def lanes(draw):
    config = BatchConfig(draw(st.integers(1, 6)), draw(st.integers(1, 12)), draw(st.floats(0, 1)))
    length = draw(st.integers(config.batch * config.length, 400))
    seed = draw(st.integers(0, 2**63 - 1))
    text = np.random.default_rng(length).integers(0, 9, length).astype(np.uint8)
    return Lanes(text, START, NEWLINE, config, seed)


@given(lanes(), st.integers(0, 1000))
def test_the_lanes_make_up_the_text_from_some_place_on(lanes, number):
    targets = lanes.epoch(number).targets
    joined = targets.T.ravel()
    n = len(lanes.text)
    assert n - len(joined) < lanes.config.batch
    assert any(np.array_equal(np.roll(lanes.text, -i)[: len(joined)], joined) for i in range(n))


@given(lanes(), st.integers(0, 1000))
def test_inputs_are_the_targets_one_step_before_but_for_start_tokens(lanes, number):
    epoch = lanes.epoch(number)
    assert (epoch.inputs[0] == START).all()
    fed, before = epoch.inputs[1:], epoch.targets[:-1]
    started = fed == START
    assert np.array_equal(fed[~started], before[~started])
    assert (before[started] == NEWLINE).all()


@given(lanes())
def test_chunks_cover_every_step_once_and_none_is_too_long(lanes):
    steps = np.concatenate([np.arange(lanes.time)[span] for span in lanes.spans])
    assert np.array_equal(steps, np.arange(lanes.time))
    lengths = [span.stop - span.start for span in lanes.spans]
    assert max(lengths) <= lanes.config.length
    assert max(lengths) - min(lengths) <= 1


def make(rate, seed=1, length=20_000):
    text = np.random.default_rng(0).integers(0, 9, length).astype(np.uint8)
    return Lanes(text, START, NEWLINE, BatchConfig(4, 10, rate), seed)


def test_an_epoch_can_be_made_again_and_differs_from_the_others():
    first, again, other = make(0.1).epoch(3), make(0.1).epoch(3), make(0.1).epoch(4)
    assert np.array_equal(first.inputs, again.inputs)
    assert np.array_equal(first.targets, again.targets)
    assert not np.array_equal(first.targets, other.targets)
    assert not np.array_equal(first.targets, make(0.1, seed=2).epoch(3).targets)


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0])
def test_the_start_token_begins_a_share_of_the_lines(rate):
    epoch = make(rate).epoch(0)
    lines = (epoch.targets[:-1] == NEWLINE).sum()
    started = (epoch.inputs[1:] == START).sum()
    assert started / lines == pytest.approx(rate, abs=0.02)


def test_a_short_text_is_refused_with_the_numbers():
    with pytest.raises(ShortTextError, match=r"39 characters.* 40 .*batch 4 x length 10.*--batch"):
        make(0.1, length=39)
