"""Series of texts: each text is that of a request of its own; places, prompts and slow readers."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.options import GenerateOptions, InvalidRequestError, seed_of
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request, find_labels, prepare
from serving.engine.text_series import MAX_HELD, TextSeries
from serving.engine.update import Update
from serving.errors import BurstError, DeadlineError, OverloadedError
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.serving.conftest import AlphabetRunner, LoadOnce, in_two_lengths
from tests.serving.golden import FOLDER
from tests.serving.records import LABELLED, record_model

Make = Callable[..., Any]


def series_of(
    engine: Engine,
    request: Request,
    indexes: Any,
    parallel: int = 3,
    deadline: float | None = None,
    *,
    whole: bool = False,
) -> TextSeries:
    """A series of this engine, not submitted yet."""
    return TextSeries(request, indexes, len(indexes), parallel, engine.vocabulary, deadline, whole=whole)


def run(engine: Engine) -> dict[int, list[Update]]:
    """Steps until nothing is left; gives the updates of each text of a series."""
    updates: dict[int, list[Update]] = defaultdict(list)
    while not engine.empty:
        for update in engine.step().updates:
            updates[update.stream.index].append(update)
            update.stream.consume(len(update.sampled), final=update.final)
    return updates


def text(updates: list[Update]) -> str:
    return "".join(update.text for update in updates)


def outcomes(updates: dict[int, list[Update]]) -> dict[int, Any]:
    """Of each text: itself, how it ended, and the bytes of its log-probabilities."""
    return {
        index: (
            text(parts),
            parts[-1].finish,
            parts[-1].end_logprob,
            b"".join(part.sampled.logprobs.tobytes() for part in parts),
        )
        for index, parts in updates.items()
    }


def alone(model: Model, request: Request, index: int) -> Any:
    """What a request for a single text gets with the seed of an index."""
    engine = model.engine(SchedulerConfig(max_streams=1))
    engine.submit(replace(request, seed=seed_of(request.seed, index)))
    [outcome] = outcomes(run(engine)).values()
    return outcome


@pytest.fixture(scope="module")
def lstm(load_once: LoadOnce) -> Model:
    return load_once(FOLDER / "lstm", "float32")


OPTIONS = {
    "plain": {"max_tokens": 40},
    "stops": {"max_tokens": 60, "stop": ("e", "s a"), "stop_tokens": "o", "min_tokens": 2},
    "penalties": {"max_tokens": 30, "top_k": 9, "repetition_penalty": 1.3, "temperature": (0.5, 1.1)},
    "nothing": {"max_tokens": 0},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("prompt", ["", "a ship sails, blue"])
@pytest.mark.parametrize(("streams", "parallel"), [(2, 5), (8, 1), (8, 8)])
def test_each_text_is_that_of_a_request_of_its_own(
    lstm: Model, options: dict[str, Any], prompt: str, streams: int, parallel: int
) -> None:
    vocabulary = lstm.bundle.vocabulary
    request = prepare(prompt, GenerateOptions(seed=2**64 - 9, **options), vocabulary, logprobs=0)
    engine = lstm.engine(SchedulerConfig(max_streams=streams, max_batch=4))
    indexes = [3, 40, *range(4, 21, 3)]
    engine.submit_series(series_of(engine, request, indexes, parallel))
    assert outcomes(run(engine)) == {index: alone(lstm, request, index) for index in indexes}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_records_with_labels_end_and_others_take_their_place(precision: Any) -> None:
    model = record_model(LABELLED, precision)
    vocabulary = model.bundle.vocabulary
    labels = find_labels(("loud", "m"), vocabulary)
    request = prepare("ta", GenerateOptions(seed=1, max_tokens=50), vocabulary, 0, labels=labels)
    engine = model.engine(SchedulerConfig(max_streams=8))
    series = series_of(engine, request, range(60), parallel=7)
    engine.submit_series(series)
    found = outcomes(run(engine))
    assert found == {index: alone(model, request, index) for index in range(60)}
    assert len({finish for _, finish, _, _ in found.values()}) == 2, "some end, and some are cut"
    assert series.complete


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("prompt", ["", "a ship sails, blue"])
def test_texts_that_come_whole_are_the_same(lstm: Model, options: dict[str, Any], prompt: str) -> None:
    request = prepare(prompt, GenerateOptions(seed=7, **options), lstm.bundle.vocabulary)
    found = []
    for whole in (False, True):
        engine = lstm.engine(SchedulerConfig(max_streams=8, max_batch=4, max_burst=5))
        engine.submit_series(series_of(engine, request, range(20), 6, whole=whole))
        updates = run(engine)
        found.append(
            {
                index: (
                    text(parts),
                    parts[-1].finish,
                    parts[-1].position,
                    parts[-1].stream.released,
                    [token for part in parts for token in part.sampled.tokens.tolist()],
                )
                for index, parts in updates.items()
            }
        )
        if whole and "stop" not in options:
            assert {len(parts) for parts in updates.values()} == {1}
    assert found[0] == found[1]


def test_records_that_come_whole_are_the_same() -> None:
    model = record_model(LABELLED)
    labels = find_labels(("calm", "s"), model.bundle.vocabulary)
    request = prepare("", GenerateOptions(seed=1, max_tokens=50), model.bundle.vocabulary, labels=labels)
    found = []
    for whole in (False, True):
        engine = model.engine(SchedulerConfig(max_streams=8))
        engine.submit_series(series_of(engine, request, range(60), 7, whole=whole))
        found.append({i: (text(u), u[-1].finish, u[-1].position) for i, u in run(engine).items()})
    assert found[0] == found[1]
    assert len({finish for _, finish, _ in found[0].values()}) == 2


def test_a_long_text_comes_in_parts_though_it_was_to_come_whole(make_engine: Make, ask: Make) -> None:
    engine = make_engine()
    engine.submit_series(series_of(engine, ask("", 3 * MAX_HELD), range(2), whole=True))
    updates = run(engine)
    for parts in updates.values():
        assert len(parts) == 3
        assert len(text(parts)) == 3 * MAX_HELD
        assert all(len(part.sampled) <= MAX_HELD + 8 for part in parts)


@in_two_lengths(40, 400)
def test_places_slots_and_the_prompt_are_taken_once_and_freed(
    make_engine: Make, ask: Make, cases: int
) -> None:
    @settings(max_examples=cases, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        count=st.integers(1, 30),
        parallel=st.integers(1, 8),
        prompt=st.text("abcxyz", max_size=20),
        length=st.integers(0, 12),
        abort_after=st.none() | st.integers(0, 6),
        close_after=st.none() | st.integers(0, 6),
        whole=st.booleans(),
    )
    def check(
        count: int,
        parallel: int,
        prompt: str,
        length: int,
        abort_after: int | None,
        close_after: int | None,
        whole: bool,
    ) -> None:
        runner = AlphabetRunner()
        engine = make_engine(runner)
        series = series_of(engine, ask(prompt, length), range(count), parallel, whole=whole)
        streams = engine.submit_series(series)
        assert len(streams) == series.parallel == min(count, parallel)
        seen, steps = set(), 0
        while not engine.empty:
            if steps == abort_after:
                engine.abort(series)
            if steps == close_after:
                series.closed = True
            assert engine.slots.used + engine.waiting <= series.parallel
            for update in engine.step().updates:
                update.stream.consume(len(update.sampled), final=update.final)
                seen |= {update.stream.index} if update.final else set()
            steps += 1
        if not series.aborted:
            assert series.running == 0
            assert seen == set(range(series.begun)), "what has begun ends"
        if abort_after is None and close_after is None:
            assert series.complete
            assert sum(rows * steps for rows, steps in runner.bursts) < 8 * (count + 3) * max(1, length)
        assert engine.slots.used == engine.waiting == 0
        engine.submit_texts(ask(), engine.max_admitted)  # all places are free

    check()


@pytest.mark.parametrize("parallel", [1, 3])
def test_the_prompt_is_read_once(make_engine: Make, ask: Make, parallel: int) -> None:
    forced = 0

    class Counting(AlphabetRunner):
        def run(self, kind: Any, feeds: Any, slots: Any) -> Any:
            nonlocal forced
            length = len(feeds["forced"])
            forced += length * len(slots) if kind == "read" else int(feeds["forced_len"].sum())
            return super().run(kind, feeds, slots)

    engine = make_engine(Counting())
    engine.submit_series(series_of(engine, ask("abcdefghijklmn", 4), range(9), parallel))
    assert {text(parts) for parts in run(engine).values()} == {"opqr"}
    assert forced == 14


def test_a_series_takes_the_room_of_the_texts_that_run(make_engine: Make, ask: Make) -> None:
    engine = make_engine(max_streams=4, max_waiting=2)
    engine.submit_series(series_of(engine, ask(), range(1000), parallel=5))
    engine.submit(ask())
    with pytest.raises(OverloadedError):
        engine.submit(ask())
    with pytest.raises(OverloadedError):
        engine.submit_series(series_of(engine, ask(), range(1000), parallel=1))
    with pytest.raises(InvalidRequestError, match="parallel must be at most 6 here, not 7"):
        engine.submit_series(series_of(engine, ask(), range(1000), parallel=7))


def test_a_slow_reader_pauses_all_of_its_texts_even_if_they_are_empty(make_engine: Make, ask: Make) -> None:
    engine = make_engine(buffer_tokens=10)
    long = series_of(engine, ask(max_tokens=5), range(1000), parallel=2)
    empty = series_of(engine, ask("", max_tokens=0), range(1000), parallel=2)
    engine.submit_series(long)
    engine.submit_series(empty)
    while engine.ready:
        engine.step()
    for series in (long, empty):
        assert 20 <= series.released < 20 + 2 * 9
        assert series.running == 2
    long.consumed = long.released
    assert engine.ready
    while engine.ready:
        engine.step()
    assert long.released - long.consumed >= 20
    assert empty.begun < 30


def test_the_first_token_of_another_text_does_not_wait_for_a_series(make_engine: Make, ask: Make) -> None:
    engine = make_engine(
        AlphabetRunner(streams=100), max_streams=100, max_waiting=100, max_batch=4, buffer_tokens=10**9
    )
    engine.submit_series(series_of(engine, ask("", max_tokens=3), range(10_000), parallel=50))
    for _ in range(20):
        engine.step()
    stream = engine.submit(ask("", max_tokens=1000))
    engine.step()
    assert stream.released, "it runs in the next burst"
    bursts = 1
    while stream.steps_left:
        engine.step()
        bursts += 1
    assert bursts <= 1 + 1000 / 8 * (51 / 4 + 1), "it takes its turn as one of 51"


def test_the_error_of_one_text_ends_the_series(make_engine: Make, ask: Make, poisoned: Any) -> None:
    engine = make_engine(poisoned)
    engine.submit_series(series_of(engine, ask("y"), range(100)))
    beside = engine.submit(ask("ab", max_tokens=30))
    updates = run(engine)
    assert isinstance(updates[0][-1].error, BurstError)
    assert len(updates) <= 3
    assert beside.gone is False
    late = series_of(engine, ask(), range(100), deadline=time.monotonic() - 1)
    engine.submit_series(late)
    assert [type(update.error) for update in run(engine)[0]] == [DeadlineError]
    assert late.begun == 3
    engine.submit_texts(ask(), engine.max_admitted)


def test_a_series_of_a_state_starts_there(make_engine: Make, ask: Make) -> None:
    engine = make_engine()
    origin = engine.submit(replace(ask("abc", max_tokens=0), returns_state=True))
    snapshot = run(engine)[origin.index][-1].snapshot
    request = replace(ask("", max_tokens=3), origin=snapshot)
    engine.submit_series(series_of(engine, request, range(5), parallel=2))
    assert {text(parts) for parts in run(engine).values()} == {"def"}
