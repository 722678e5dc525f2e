"""The state pool: a slot holds what was put in it, of any type and shape, and nothing of the others."""

import numpy as np

from charloom.burst import StateSpec
from serving.engine.state_pool import StatePool

SPECS = [StateSpec("h", "float32", (3,)), StateSpec("window", "int64", (2, 2), -1)]


def test_keeps_rows_apart() -> None:
    pool = StatePool(SPECS, 4)
    for slot in range(4):
        pool.reset(slot)
    outputs = {
        "h_out": np.arange(6, dtype=np.float32).reshape(2, 3),
        "window_out": np.arange(8).reshape(2, 2, 2),
    }
    pool.scatter([2, 0], outputs)
    state = pool.gather([0, 1, 2])
    assert state["h"].tolist() == [[3, 4, 5], [0, 0, 0], [0, 1, 2]]
    assert state["window"][2].tolist() == [[0, 1], [2, 3]]


def test_a_slot_is_reset_to_the_state_of_a_fresh_stream() -> None:
    """The first time, and when it was in use before."""
    pool = StatePool(SPECS, 1)
    for _ in range(2):
        pool.reset(0)
        state = pool.gather([0])
        assert state["h"].tolist() == [[0, 0, 0]]
        assert state["window"].tolist() == [[[-1, -1], [-1, -1]]]
        for tensor in pool.tensors.values():
            tensor[0] = 7
