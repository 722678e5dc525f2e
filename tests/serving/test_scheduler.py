"""How long bursts are, and who is in them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.errors import ConfigError
from charloom.vocabulary import CharacterVocabulary
from serving.engine.config import SchedulerConfig
from serving.engine.scheduler import Plan, Scheduler, StepCost, best_length, efficient_seconds
from serving.engine.stream import Stream
from tests.serving.conftest import in_two_lengths

Make = Callable[..., Any]
LETTERS = CharacterVocabulary("abc")


def join(subject: Scheduler, stream: Stream) -> Stream:
    """Lets a stream in at once."""
    subject.add(stream)
    subject.start(stream)
    return stream


def scheduler(ask: Make, *lengths: int, **config: Any) -> Scheduler:
    """A scheduler with running streams that have so many steps left."""
    result = Scheduler(SchedulerConfig(**config))
    for length in lengths:
        join(result, Stream(ask("a", max_tokens=length - 1), LETTERS))
    return result


def speaking(ask: Make, streams: int, **config: Any) -> Scheduler:
    """A scheduler with endless streams, each past its first burst; bursts have four steps."""
    subject = scheduler(ask, *[10_000] * streams, max_burst=4, **config)
    subject.cost.learn(rows=1, steps=1, elapsed=1e-9)
    while any(stream.position == 0 for stream in subject.running):
        run(subject)
    return subject


def run(subject: Scheduler) -> Plan:
    """The next burst, run; every reader takes what comes."""
    plan = subject.plan()
    assert plan is not None
    for stream in plan.streams:
        stream.position += min(plan.steps, stream.steps_left)
    return plan


def test_nothing_runs_where_nothing_is() -> None:
    assert Scheduler(SchedulerConfig()).plan() is None


def test_the_first_burst_is_short_because_its_cost_is_unknown(ask: Make) -> None:
    assert scheduler(ask, 50).plan().steps == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 20), (0.005, 4), (0.5, 1), (0.00001, 32)])
def test_a_burst_fits_the_latency_budget(ask: Make, seconds: float, steps: int) -> None:
    subject = scheduler(ask, *[100] * 50, latency_budget=0.0201, max_burst=32)
    subject.cost.learn(rows=50, steps=10, elapsed=10 * seconds)
    assert subject.plan().steps == steps  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [1, 4, 16])
def test_few_streams_are_not_kept_waiting_for_the_whole_budget(ask: Make, rows: int) -> None:
    subject = scheduler(ask, *[10_000] * rows, latency_budget=10.0, max_burst=10_000)
    subject.cost.learn(rows=rows, steps=1, elapsed=1e-4)
    assert subject.plan().steps == int(efficient_seconds(rows) / 1e-4)  # type: ignore[union-attr]


def test_no_burst_is_longer_than_its_longest_row(ask: Make) -> None:
    subject = scheduler(ask, 3, 7)
    subject.cost.learn(rows=2, steps=1, elapsed=1e-6)
    assert subject.plan().steps == 7  # type: ignore[union-attr]


def test_cost_is_told_apart_by_batch_size_and_follows_what_is_measured() -> None:
    cost = StepCost()
    cost.learn(rows=1, steps=1, elapsed=0.001)
    cost.learn(rows=200, steps=1, elapsed=0.1)
    assert cost.estimate(1) == 0.001
    assert cost.estimate(150) == 0.1
    assert cost.estimate(256) == 0.2  # never ran: twice the rows, twice the cost at the most
    assert cost.estimate(64) == 0.1
    for _ in range(50):
        cost.learn(rows=1, steps=1, elapsed=0.002)
    assert cost.estimate(1) == pytest.approx(0.002, rel=1e-3)


def test_no_batch_is_larger_than_the_largest(ask: Make) -> None:
    subject = scheduler(ask, *[10] * 7, max_batch=3)
    assert [len(run(subject).streams) for _ in range(4)] == [3, 3, 3, 3]


def test_who_arrives_speaks_next(ask: Make) -> None:
    subject = speaking(ask, 9, max_batch=4)
    newcomers = {join(subject, Stream(ask("abc", max_tokens=100), LETTERS)) for _ in range(2)}
    assert newcomers < set(run(subject).streams)
    assert not newcomers & set(run(subject).streams)  # the others' turn


def test_a_long_prompt_is_read_in_every_burst(ask: Make) -> None:
    subject = speaking(ask, 9, max_batch=4)
    reader = join(subject, Stream(ask("a" * 20, max_tokens=100), LETTERS))
    while reader.forced_left:
        assert run(subject).streams[0] is reader


def test_a_stream_whose_reader_has_fallen_behind_gives_its_turn_to_others(ask: Make) -> None:
    subject = speaking(ask, 4, max_batch=2, buffer_tokens=8)
    paused, *others = subject.running
    paused.released = 8
    assert all(paused not in run(subject).streams for _ in range(6))
    paused.consumed = 1
    assert paused in run(subject).streams
    for stream in others:
        stream.released = 8
    assert run(subject).streams == [paused]


@in_two_lengths(50, 300)
def test_every_stream_has_its_turn_whatever_arrives(ask: Make, cases: int) -> None:
    """No stream waits longer than it takes all that run to pass through half of a batch."""

    @settings(max_examples=cases)
    @given(
        batch=st.integers(2, 6),
        streams=st.integers(1, 20),
        arrivals=st.lists(st.integers(0, 6), min_size=40, max_size=40),
    )
    def check(batch: int, streams: int, arrivals: list[int]) -> None:
        subject = speaking(ask, streams, max_batch=batch)
        waited = dict.fromkeys(subject.running, 0)  # bursts since its last turn
        most = 0
        for arriving in arrivals:
            for _ in range(arriving):
                waited[join(subject, Stream(ask("a" * 7, max_tokens=1), LETTERS))] = 0
            most = max(most, len(waited))
            turn = run(subject).streams
            waited = {stream: 0 if stream in turn else bursts + 1 for stream, bursts in waited.items()}
            assert max(waited.values()) <= -(-most // (batch // 2))
            for stream in turn:
                if stream.steps_left == 0:
                    subject.remove(stream)
                    del waited[stream]

    check()


@pytest.mark.parametrize(
    "field", ["max_streams", "max_batch", "max_burst", "latency_budget", "buffer_tokens"]
)
def test_unusable_settings_are_named(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        SchedulerConfig(**{field: 0})


@pytest.mark.parametrize(("rate", "lowest", "highest"), [(0.5, 1, 3), (1 / 40, 8, 16), (1e-6, 256, 256)])
def test_a_burst_is_shorter_where_texts_end_sooner(rate: float, lowest: int, highest: int) -> None:
    rates = np.full(100, rate)
    assert lowest <= best_length(256, rates, rows=100, step=1e-3, overhead=2e-3) <= highest
    # The work around a burst makes it longer, and so do rows that go on.
    length = best_length(256, rates, 100, 1e-3, 2e-3)
    assert length <= best_length(256, rates, 100, 1e-3, 20e-3)
    assert length <= best_length(256, rates, 900, 1e-3, 2e-3)


def test_the_best_length_is_that_of_the_highest_rate() -> None:
    rates, step, overhead = np.array([0.1, 0.02, 0.02]), 1e-3, 4e-3

    def rate(length: int) -> float:
        delivered = 2 * length + sum((1 - (1 - rate) ** length) / rate for rate in rates)
        return float(delivered / (overhead + step * length))

    assert best_length(60, rates, 5, step, overhead) == max(range(1, 61), key=rate)
