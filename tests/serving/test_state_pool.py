"""Slots hold what was put in them, and are given once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charloom.burst import StateSpec
from serving.engine.state_pool import StatePool

SPECS = [StateSpec("h", "float32", (3,)), StateSpec("window", "int64", (2, 2), -1)]


def test_keeps_rows_apart() -> None:
    pool = StatePool(SPECS, 4)
    slots = [pool.acquire() for _ in range(4)]
    assert sorted(slots) == [0, 1, 2, 3]
    assert pool.acquire() is None
    outputs = {
        "h_out": np.arange(6, dtype=np.float32).reshape(2, 3),
        "window_out": np.arange(8).reshape(2, 2, 2),
    }
    pool.scatter([2, 0], outputs)
    state = pool.gather([0, 1, 2])
    assert state["h"].tolist() == [[3, 4, 5], [0, 0, 0], [0, 1, 2]]
    assert state["window"][2].tolist() == [[0, 1], [2, 3]]


def test_a_slot_is_given_in_the_state_of_a_fresh_stream() -> None:
    """The first time, and when it was in use before."""
    pool = StatePool(SPECS, 1)
    for _ in range(2):
        slot = pool.acquire()
        assert slot == 0
        state = pool.gather([slot])
        assert state["h"].tolist() == [[0, 0, 0]]
        assert state["window"].tolist() == [[[-1, -1], [-1, -1]]]
        for tensor in pool.tensors.values():
            tensor[slot] = 7
        pool.release(slot)


@given(st.lists(st.booleans()))
def test_counts_what_is_in_use(script: list[bool]) -> None:
    pool, held = StatePool(SPECS, 5), []
    for take in script:
        if take and (slot := pool.acquire()) is not None:
            assert slot not in held
            held.append(slot)
        elif not take and held:
            pool.release(held.pop(0))
        assert pool.used == len(held)
