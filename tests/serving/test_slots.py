"""Slots are given once, the lowest first, and each stream has a second one of its own."""

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.slots import Slots


@given(st.lists(st.booleans()))
def test_counts_what_is_in_use(script: list[bool]) -> None:
    slots, held = Slots(5), []
    for take in script:
        if take and (slot := slots.acquire()) is not None:
            assert slot == min(set(range(5)) - set(held))
            held.append(slot)
        elif take:
            assert len(held) == 5
        elif held:
            slots.release(held.pop(0))
        assert slots.used == len(held)


@given(st.integers(1, 50))
def test_no_two_uses_share_a_slot(streams: int) -> None:
    slots = Slots(streams)
    first = [slot for _ in range(streams) if (slot := slots.acquire()) is not None]
    every = [*first, *map(slots.anchor, first), slots.scratch]
    assert sorted(every) == list(range(Slots.needed(streams)))
