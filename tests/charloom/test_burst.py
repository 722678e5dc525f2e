import numpy as np
import pytest

from charloom.burst import FULL_INPUTS, INPUTS, OUTPUTS, PLAIN_INPUTS, StateSpec, neutral, pad, take

SIZES = {"B": 3, "K": 2, "V": 5, "W": 4, "N": 2}


@pytest.mark.parametrize("specs", [INPUTS, OUTPUTS], ids=["inputs", "outputs"])
@pytest.mark.parametrize(("less", "more"), [("read", "plain"), ("plain", "full")])
def test_a_graph_has_first_what_a_lesser_one_has(specs, less, more):
    assert specs[more][: len(specs[less])] == specs[less]
    assert len(specs[more]) > len(specs[less])


def test_neutral_feeds_have_every_input_with_its_type_and_shape():
    feeds = neutral(FULL_INPUTS, **SIZES)
    assert list(feeds) == [spec.name for spec in FULL_INPUTS]
    for spec in FULL_INPUTS:
        assert feeds[spec.name].dtype == spec.dtype
        assert feeds[spec.name].shape == tuple(SIZES[dim] for dim in spec.dims)
    assert not feeds["steps"].any()
    assert feeds["allowed"].all()
    assert (feeds["recent"] == -1).all()
    assert (feeds["top_p"] == 1).all()


def numbered():
    """A burst in which every row differs from every other."""
    feeds = neutral(PLAIN_INPUTS, B=3, K=2)
    feeds["last"][:] = [10, 11, 12]
    feeds["forced"][:] = [[0, 1, 2], [3, 4, 5]]
    return feeds | {"h_0": np.arange(6, dtype=np.float32).reshape(3, 2)}


def test_taking_rows_keeps_each_row_together():
    taken = take(numbered(), PLAIN_INPUTS, np.array([2, 0]))
    assert taken["last"].tolist() == [12, 10]
    assert taken["forced"].tolist() == [[2, 0], [5, 3]]
    assert taken["h_0"].tolist() == [[4, 5], [0, 1]]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_burst_of_enough_rows_is_not_padded(rows):
    feeds = numbered()
    assert pad(feeds, PLAIN_INPUTS, rows) is feeds


def test_padding_adds_copies_of_the_first_row():
    feeds = numbered()
    padded = pad(feeds, PLAIN_INPUTS, 5)
    assert padded["last"].tolist() == [10, 11, 12, 10, 10]
    assert padded["forced"].tolist() == [[0, 1, 2, 0, 0], [3, 4, 5, 3, 3]]
    assert padded["h_0"].tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [0, 1]]
    assert feeds["last"].tolist() == [10, 11, 12]  # the caller's burst is left alone


def test_a_fresh_state_is_what_stands_for_zero():
    spec = StateSpec("c_1", "float32", (4,))
    assert spec.output == "c_1_out"
    assert spec.nbytes == 16
    assert spec.initial_rows(2).tolist() == [[0] * 4] * 2
    assert spec.initial_rows(2).dtype == np.float32
    encoded = StateSpec("h_1", "uint8", (4,), 128, scale=1 / 127, zero=128)
    assert encoded.nbytes == 4
    assert encoded.initial_rows(2).tolist() == [[128] * 4] * 2
    assert encoded.initial_rows(2).dtype == np.uint8


H = StateSpec("h_0", "uint8", (256,), initial=128, scale=1 / 127, zero=128)
IDS = StateSpec("window", "int64", (2, 3), initial=5, limit=9)


def test_a_quantised_tensor_stands_for_numbers():
    every = np.arange(256, dtype=np.uint8)[None]
    numbers = H.dequantised(every)
    assert numbers.dtype == np.float32
    assert (numbers[0, 1], numbers[0, 128], numbers[0, 255]) == (-1, 0, 1)
    assert (numbers == (every.astype(np.float32) - 128) / np.float32(127)).all()
    assert (H.quantised(numbers) == every).all()
    assert H.quantised(np.array([[-9, 9, 0.4 / 127, 0.6 / 127]], np.float32)).tolist() == [[0, 255, 128, 129]]


def test_a_tensor_is_converted_between_precisions_and_not_within_one():
    plain = StateSpec("h_0", "float32", (256,))
    every = np.arange(256, dtype=np.uint8)[None]
    numbers = plain.converted(every, H)
    assert numbers.dtype == np.float32
    assert (H.converted(numbers, plain) == every).all()
    assert H.converted(every, H) is every
    ids = IDS.initial_rows(2)
    assert IDS.dequantised(ids) is ids
    assert IDS.converted(ids, IDS) is ids


def test_a_state_of_integers_has_its_type_and_shape():
    assert IDS.initial_rows(4).shape == (4, 2, 3)
    assert IDS.initial_rows(4).dtype == np.int64
    assert set(IDS.initial_rows(4).ravel().tolist()) == {5}
    assert (IDS.size, IDS.nbytes) == (6, 48)
