"""The engine's bookkeeping, with a runner whose every token is known."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.engine.engine import Engine
from serving.engine.request import Request
from serving.engine.sampled_tokens import concatenate
from serving.engine.stream import Stream
from serving.engine.update import Finish, Update
from serving.errors import BurstError, DeadlineError, DrainingError, OverloadedError

Make = Callable[..., Any]


def drain(engine: Engine, *, reading: bool = True) -> dict[Stream, list[Update]]:
    """Steps until nothing is ready; gives the updates of each stream."""
    updates: dict[Stream, list[Update]] = defaultdict(list)
    while engine.ready:
        for update in engine.step().updates:
            updates[update.stream].append(update)
            if reading:
                update.stream.consumed = update.stream.released
    return updates


def text(updates: list[Update]) -> str:
    return "".join(update.text for update in updates)


def test_continues_the_prompt_and_says_why_it_ended(make_engine: Make, ask: Make) -> None:
    engine = make_engine()
    stream = engine.submit(ask("abc", max_tokens=20))
    updates = drain(engine)[stream]
    assert text(updates) == "defghijklmnopqrstuvw"
    assert [u.finish for u in updates] == [None] * (len(updates) - 1) + [Finish.LENGTH]
    assert updates[-1].position == 3 + 20
    assert np.isnan(concatenate([u.sampled for u in updates]).logprobs).all(), "nobody asked"


def test_log_probabilities_are_those_of_the_tokens(make_engine: Make, ask: Make) -> None:
    engine = make_engine()
    asking = engine.submit(replace(ask("abc", max_tokens=20), logprobs=0))
    other = engine.submit(ask("abc", max_tokens=20))
    updates = drain(engine)
    chosen, unasked = (concatenate([u.sampled for u in updates[stream]]) for stream in (asking, other))
    assert chosen.logprobs.tolist() == [-float(token) for token in chosen.tokens]
    assert np.isnan(unasked.logprobs).all()


def test_reading_and_generating_share_a_burst(make_engine: Make, ask: Make, runner: Any) -> None:
    engine = make_engine(runner)
    long = engine.submit(ask("abcdefghijklmnop", max_tokens=2))
    short = engine.submit(ask("", max_tokens=8))
    updates = drain(engine)
    assert runner.bursts[0] == (2, 8)
    assert text(updates[short]) == "bcdefghi"  # the start token is 26; (26 + 1) % 26 is b
    assert text(updates[long]) == "qr"


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 40])
def test_first_token_comes_within_the_promised_bursts(
    make_engine: Make, ask: Make, runner: Any, length: int
) -> None:
    engine = make_engine(runner)
    stream = engine.submit(ask("a" * length, max_tokens=30))
    while stream.released == 0:
        engine.step()
    assert len(runner.bursts) <= (2 if length <= 8 else ceil(length / 8) + 1)


def test_leaving_gives_the_slot_to_who_waits(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=1, max_waiting=2)
    first, second, third = (engine.submit(ask(p)) for p in "amz")
    engine.abort(second)
    updates = drain(engine)
    assert text(updates[first]) == "bcdef"
    assert text(updates[third]) == "abcde"
    assert second not in updates
    assert engine.empty
    assert engine.slots.used == 0


def test_a_place_is_free_again_whichever_way_a_stream_ends(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=1, max_waiting=1)
    for _ in range(5):
        done, gone = engine.submit(ask()), engine.submit(ask())
        with pytest.raises(OverloadedError) as refused:
            engine.submit(ask())
        assert refused.value.retry_after > 0
        engine.abort(gone)
        assert text(drain(engine)[done]) == "bcdef"


def test_a_slot_starts_from_zero_state(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=1)
    engine.submit(ask("abc"))
    drain(engine)
    engine.submit(ask("abc", max_tokens=1000))
    engine.step()
    assert engine.runner.steps_run[0] == 8


def test_a_cancelled_stream_leaves_before_the_next_burst(make_engine: Make, ask: Make, runner: Any) -> None:
    engine = make_engine(runner)
    gone, stays = (engine.submit(ask(max_tokens=100)) for _ in range(2))
    engine.step()
    engine.abort(gone)
    engine.step()
    assert [rows for rows, _ in runner.bursts] == [2, 1]
    assert engine.slots.used == 1
    assert stays.slot is not None


def test_a_late_stream_ends_with_its_error_even_while_it_waits(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=1)
    running = engine.submit(ask(max_tokens=100))
    late = engine.submit(ask(), deadline=time.monotonic() - 1)
    updates = engine.step().updates
    assert isinstance(next(u for u in updates if u.stream is late).error, DeadlineError)
    assert running.slot is not None


def test_a_failing_burst_fails_only_the_streams_in_it(make_engine: Make, ask: Make, poisoned: Any) -> None:
    engine = make_engine(poisoned, max_streams=3, buffer_tokens=8)
    slow = engine.submit(ask("a", max_tokens=16))  # pauses after its first bursts: nobody reads it
    while engine.ready:
        engine.step()
    poison, beside, waiting = (engine.submit(ask(prompt)) for prompt in ("y", "f", "k"))
    updates = drain(engine)
    assert isinstance(updates[poison][-1].error, BurstError)
    assert isinstance(updates[beside][-1].error, BurstError)
    assert text(updates[waiting]) == "lmnop"
    slow.consumed = slow.released
    assert drain(engine)[slow][-1].finish is Finish.LENGTH
    assert engine.slots.used == 0


def test_a_slow_reader_pauses_only_itself(make_engine: Make, ask: Make) -> None:
    engine = make_engine(buffer_tokens=10)
    slow, quick = (engine.submit(ask(max_tokens=200)) for _ in range(2))
    while quick.steps_left:
        engine.step()
        quick.consumed = quick.released
    assert 10 <= slow.released < 10 + 8
    assert not engine.ready
    assert not engine.empty
    slow.consumed = already = slow.released
    assert engine.ready
    assert already + len(text(drain(engine)[slow])) == 200


def test_an_abandoned_engine_tells_those_too_whose_state_cannot_be_had(
    make_engine: Make, ask: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = "of a text"

    def defect(*_: object) -> None:
        raise KeyError(words)

    engine = make_engine()
    streams = {engine.submit(replace(ask(max_tokens=50), state_interval=20)) for _ in range(5)}
    engine.step()
    monkeypatch.setattr(engine, "_snapshot", defect)
    updates = engine.abandon(DrainingError()).updates
    assert {u.stream for u in updates if isinstance(u.error, DrainingError)} == streams
    assert engine.empty
    assert "KeyError" in caplog.text
    assert words not in caplog.text


def test_an_abandoned_engine_tells_everyone(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=1)
    streams = {engine.submit(ask(max_tokens=99)) for _ in range(3)}
    engine.step()
    late = engine.submit(ask())
    updates = engine.abandon(DrainingError()).updates
    assert {u.stream for u in updates} == streams | {late}
    assert all(isinstance(u.error, DrainingError) for u in updates)
    assert engine.empty
    assert engine.slots.used == 0


def test_counts_what_was_read_and_made(make_engine: Make, ask: Make) -> None:
    engine = make_engine()
    engine.submit(ask("abc", max_tokens=20))
    engine.submit(ask("abcdefghijkl", max_tokens=1))
    reports = []
    while engine.ready:
        reports.append(engine.step())
    assert sum(r.read for r in reports) == 3 + 12
    assert sum(r.generated for r in reports) == 20 + 1


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.sampled_from(["c", "de", "efg", "xyza", "q"]), max_size=3), burst=st.integers(1, 9))
def test_stops_before_the_first_stop_string(
    make_engine: Make, ask: Make, stops: list[str], burst: int
) -> None:
    engine = make_engine(max_burst=burst)
    request: Request = ask("a", max_tokens=30, stop=tuple(stops))
    stream = engine.submit(request)
    updates = drain(engine)[stream]
    whole = "bcdefghijklmnopqrstuvwxyzabcde"
    complete = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    assert text(updates) == (whole[: min(complete)[1]] if complete else whole)
    assert updates[-1].finish is (Finish.STOP if complete else Finish.LENGTH)
