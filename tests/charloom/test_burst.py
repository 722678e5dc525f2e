import numpy as np
import pytest

from charloom.burst import FULL_INPUTS, INPUTS, PLAIN_INPUTS, StateSpec, neutral, pad, take

SIZES = {"B": 3, "K": 2, "V": 5, "W": 4, "N": 2}


def test_the_full_graph_takes_what_the_plain_one_takes_first():
    assert INPUTS["full"][: len(PLAIN_INPUTS)] == PLAIN_INPUTS


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
    feeds["steps"][:] = [1, 2, 2]
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


def test_padding_adds_rows_that_run_no_step():
    feeds = numbered()
    padded = pad(feeds, PLAIN_INPUTS, 5)
    assert padded["steps"].tolist() == [1, 2, 2, 0, 0]
    for name, array in take(padded, PLAIN_INPUTS, np.arange(3)).items():
        assert array.tolist() == feeds[name].tolist()
    assert feeds["steps"].tolist() == [1, 2, 2]  # the caller's burst is left alone


def test_a_fresh_state_is_zero():
    spec = StateSpec("c_1", "float32", (4,))
    assert spec.output == "c_1_out"
    assert spec.nbytes == 16
    assert spec.zeros(2).tolist() == [[0] * 4] * 2
    assert spec.zeros(2).dtype == np.float32
