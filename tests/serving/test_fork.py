"""Several texts of one prompt: read once, then apart; whatever ends one, nothing is left behind."""

import time
from collections import defaultdict
from collections.abc import Callable
from string import ascii_lowercase
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.options import InvalidRequestError
from serving.engine.engine import Engine
from serving.engine.stream import Stream
from serving.engine.update import Finish, Update
from serving.errors import BurstError, DeadlineError, DrainingError, OverloadedError
from tests.serving.conftest import in_two_lengths

Make = Callable[..., Any]


def drain(engine: Engine) -> dict[Stream, list[Update]]:
    """Steps until nothing is left; gives the updates of each stream."""
    updates: dict[Stream, list[Update]] = defaultdict(list)
    while not engine.empty:
        for update in engine.step().updates:
            updates[update.stream].append(update)
            update.stream.consumed = update.stream.released
    return updates


def text(updates: list[Update]) -> str:
    return "".join(update.text for update in updates)


def is_clean(engine: Engine, streams: list[Stream]) -> bool:
    """Whether no slot, place or state of a prompt is held any longer."""
    held = any(stream.children or stream.origin for stream in streams)
    every_place = engine.submit_texts(streams[0].request, engine.max_admitted)
    for stream in every_place:
        engine.abort(stream)
    while not engine.empty:
        engine.step()
    return not held and engine.slots.used == 0 and engine.waiting == 0


def follows(letter: str, length: int) -> str:
    """What the fake runner generates after a letter."""
    place = ascii_lowercase.index(letter) + 1
    return "".join(ascii_lowercase[(place + i) % 26] for i in range(length))


@in_two_lengths(50, 300)
def test_the_prompt_is_read_once_whatever_room_there_is(make_engine: Make, ask: Make, cases: int) -> None:
    @settings(max_examples=cases)
    @given(
        n=st.integers(1, 7),
        prompt=st.text("abcxyz", max_size=30),
        length=st.integers(1, 20),
        slots=st.integers(1, 8),
        burst=st.integers(1, 9),
    )
    def check(n: int, prompt: str, length: int, slots: int, burst: int) -> None:
        engine = make_engine(max_streams=slots, max_waiting=8, max_burst=burst)
        streams = engine.submit_texts(ask(prompt, max_tokens=length), n)
        read, texts = 0, dict.fromkeys(streams, "")
        while not engine.empty:
            report = engine.step()
            read += report.read
            for update in report.updates:
                texts[update.stream] += update.text
                assert update.position == len(prompt) + update.stream.released
        assert read == len(prompt)
        assert [stream.request.seed for stream in streams] == list(range(n))
        # Without a prompt the start token, 26, is followed by b.
        assert set(texts.values()) == {follows(prompt[-1] if prompt else "a", length)}
        assert is_clean(engine, streams)

    check()


def test_every_text_goes_on_from_the_state_after_the_prompt(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=8, max_burst=4)
    streams = engine.submit_texts(ask("abcdef", max_tokens=100), 3)
    for _ in range(5):
        engine.step()
    for stream in streams:
        assert engine.runner.steps_run[stream.slot] == stream.position > 6
        assert stream.origin is None


def test_the_reading_ends_with_the_prompt_and_others_do_not_wait(
    make_engine: Make, ask: Make, runner: Any
) -> None:
    engine = make_engine(runner, max_streams=8)
    other = engine.submit(ask("k", max_tokens=40))
    streams = engine.submit_texts(ask("abcdefghij", max_tokens=5), 3)
    for _ in range(2):
        engine.step()
    assert [stream.position for stream in streams] == [10, 10, 10]
    assert other.released == 15
    assert engine.waiting == 2
    drain(engine)
    assert [rows for rows, _ in runner.bursts[:3]] == [2, 2, 4]


@in_two_lengths(60, 500)
def test_cancelling_some_leaves_the_others_as_they_are(make_engine: Make, ask: Make, cases: int) -> None:
    @settings(max_examples=cases)
    @given(
        cancelled=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=6),
        slots=st.integers(1, 6),
        prompt=st.sampled_from(["", "a", "abcdefghijklmnopqrst"]),
    )
    def check(cancelled: list[tuple[int, int]], slots: int, prompt: str) -> None:
        engine = make_engine(max_streams=slots, max_waiting=6)
        streams = engine.submit_texts(ask(prompt, max_tokens=12), 5)
        texts = dict.fromkeys(streams, "")
        for step in range(200):
            for index, when in cancelled:
                if when == step:
                    engine.abort(streams[index])
            for update in engine.step().updates:
                texts[update.stream] += update.text
        assert engine.empty
        whole = follows(prompt[-1] if prompt else "a", 12)
        assert all(t == whole or (s.aborted and whole.startswith(t)) for s, t in texts.items())
        assert is_clean(engine, streams)

    check()


def test_cancelling_all_while_the_prompt_is_read_frees_their_places_at_once(
    make_engine: Make, ask: Make
) -> None:
    engine = make_engine(max_streams=2, max_waiting=6)
    streams = engine.submit_texts(ask("a" * 100), 8)
    engine.step()
    for stream in streams:
        engine.abort(stream)
    engine.step()
    assert engine.empty
    assert is_clean(engine, streams)


def test_a_burst_that_fails_while_the_prompt_is_read_fails_all_its_texts_at_once(
    make_engine: Make, ask: Make, poisoned: Any
) -> None:
    engine = make_engine(poisoned, max_streams=8)
    streams = engine.submit_texts(ask("axy"), 4)
    updates = drain(engine)
    assert set(updates) == set(streams)
    assert all(isinstance(of_stream[-1].error, BurstError) for of_stream in updates.values())
    assert len(poisoned.bursts) == 1
    assert is_clean(engine, streams)


def test_a_burst_that_fails_later_fails_who_is_in_it(make_engine: Make, ask: Make, poisoned: Any) -> None:
    engine = make_engine(poisoned, max_streams=2, max_waiting=8)
    streams = engine.submit_texts(ask("abc", max_tokens=8), 3)
    engine.step()  # reads
    poison = engine.submit(ask("y"))
    updates = drain(engine)
    assert isinstance(updates[poison][-1].error, BurstError)
    ends = [updates[stream][-1] for stream in streams]
    assert [end.finish for end in ends].count(Finish.LENGTH) == 2
    assert engine.waiting == engine.slots.used == 0


def test_a_deadline_ends_those_that_wait_for_the_prompt(make_engine: Make, ask: Make) -> None:
    engine = make_engine()
    streams = engine.submit_texts(ask("a" * 50), 3, deadline=time.monotonic() - 1)
    updates = engine.step().updates
    assert {update.stream for update in updates} == set(streams)
    assert all(isinstance(update.error, DeadlineError) for update in updates)
    assert engine.empty
    assert is_clean(engine, streams)


def test_an_abandoned_engine_tells_those_that_wait_for_the_prompt(make_engine: Make, ask: Make) -> None:
    engine = make_engine()
    streams = engine.submit_texts(ask("a" * 50), 3) + engine.submit_texts(ask("b" * 50), 2)
    engine.step()
    updates = engine.abandon(DrainingError()).updates
    assert {update.stream for update in updates} == set(streams)
    assert engine.empty
    assert is_clean(engine, streams)


def test_as_many_places_are_taken_as_there_are_texts(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=2, max_waiting=3)
    engine.submit_texts(ask("abc"), 3)
    assert engine.waiting == 3
    with pytest.raises(OverloadedError):
        engine.submit_texts(ask("abc"), 3)
    engine.submit_texts(ask("abc"), 2)
    with pytest.raises(InvalidRequestError, match="n must be at most 5 here, not 6"):
        engine.submit_texts(ask("abc"), 6)
