"""Saved at any token, gone on from anywhere: the text is to the byte that of a stream that was left alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.options import GenerateOptions
from charloom.vocabulary import no_tokens
from serving.engine.async_engine import merge
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request, prepare
from serving.engine.sampled_tokens import SampledTokens, concatenate
from serving.engine.snapshot import Snapshot
from serving.engine.stream import Stream
from serving.engine.update import Finish, Update
from serving.errors import DrainingError
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.serving.conftest import LARGEST, LoadOnce, in_two_lengths
from tests.serving.records import LABELLED, record_model
from tests.serving.test_independence import GUESTS, Guest


@pytest.fixture(scope="module", params=[*PRECISIONS, "records"])
def model(load_once: LoadOnce, bundle_dir: Path, request: pytest.FixtureRequest) -> Model:
    if request.param == "records":
        return record_model(LABELLED)
    return load_once(bundle_dir, request.param)


def updates(model: Model, request: Request, burst: int = 11, n: int = 1) -> list[list[Update]]:
    """What comes of the texts of one request, in bursts of up to so many steps."""
    engine = model.engine(SchedulerConfig(max_streams=4, max_burst=burst, latency_budget=9))
    return drain(engine, engine.submit_texts(request, n))


def together(model: Model, requests: Sequence[Request], burst: int) -> list[list[Update]]:
    """What comes of many requests at once."""
    engine = model.engine(SchedulerConfig(max_streams=LARGEST, max_burst=burst, latency_budget=9))
    return drain(engine, engine.submit_all(requests))


def drain(engine: Engine, streams: list[Stream]) -> list[list[Update]]:
    """Steps an engine until nothing is left; the updates of each stream."""
    found: list[list[Update]] = [[] for _ in streams]
    while not engine.empty:
        for update in engine.step().updates:
            assert update.error is None
            update.stream.consumed = update.stream.released
            found[streams.index(update.stream)].append(update)
    assert engine.slots.used == engine.waiting == 0
    assert not any(stream.origin or stream.anchor for stream in streams)
    return found


def run(model: Model, request: Request, burst: int = 11) -> list[Update]:
    (found,) = updates(model, request, burst)
    return found


def text(found: list[Update]) -> str:
    return "".join(update.text for update in found)


def chosen(found: list[Update]) -> SampledTokens:
    return concatenate([update.sampled for update in found])


def same(one: Snapshot, other: Snapshot) -> bool:
    states = (one.state.keys() == other.state.keys()) and all(
        one.state[name].tobytes() == tensor.tobytes() for name, tensor in other.state.items()
    )
    facts = (one.last, one.position, one.labels) == (other.last, other.position, other.labels)
    return states and facts and one.recent.tolist() == other.recent.tolist()


def go_on(request: Request, snapshot: Snapshot) -> Request:
    """The rest of a text, from where it was saved."""
    return replace(request, prompt=no_tokens(), origin=snapshot, before=snapshot.position - request.start)


def saved(found: list[Update]) -> Iterator[tuple[int, Snapshot]]:
    """Every snapshot within the text, with how many updates came until it; not that of the next record."""
    for i, update in enumerate(found):
        if update.snapshot is not None and update.finish is not Finish.END:
            yield i + 1, update.snapshot


@in_two_lengths(25, 60)
def test_a_text_goes_on_from_every_place_where_it_was_saved(model: Model, cases: int) -> None:
    @settings(max_examples=cases)
    @given(guest=GUESTS, interval=st.integers(1, 9), bursts=st.tuples(*[st.sampled_from([1, 4, 7, 30])] * 2))
    def check(guest: Guest, interval: int, bursts: tuple[int, int]) -> None:
        request = replace(guest.request(model), returns_state=True, state_interval=interval)
        whole = run(model, request, bursts[0])
        tokens, said = chosen(whole).tokens, text(whole)
        places = list(saved(whole))
        assert places or whole[-1].finish is Finish.END
        assert whole[-1].snapshot is not None
        if whole[-1].finish is Finish.END:
            last = whole[-1].snapshot
            assert (last.last, last.position) == (model.bundle.vocabulary.start, whole[-1].position)
            assert (last.labels, len(last.recent)) == (request.labels, 0)
        rests = together(model, [go_on(request, snapshot) for _, snapshot in places], bursts[1])
        for (count, snapshot), rest in zip(places, rests, strict=True):
            released = snapshot.position - request.start
            assert 0 <= released <= len(tokens)
            assert snapshot.position == whole[count - 1].position
            assert text(whole[:count]) + text(rest) == said
            assert chosen(rest).tokens.tolist() == tokens[released:].tolist()
            assert chosen(rest).logprobs.tobytes() == chosen(whole).logprobs[released:].tobytes()
            assert rest[-1].finish == whole[-1].finish
            assert rest[-1].stream.released == whole[-1].stream.released
            assert rest[-1].position == whole[-1].position
            assert same(rest[-1].snapshot, whole[-1].snapshot)

    check()


@in_two_lengths(25, 60)
def test_a_text_goes_on_after_the_tokens_that_its_reader_has(model: Model, cases: int) -> None:
    @settings(max_examples=cases)
    @given(guest=GUESTS, which=st.integers(0, 1000), where=st.integers(0, 1000))
    def check(guest: Guest, which: int, where: int) -> None:
        request = replace(guest.request(model), returns_state=True, state_interval=5)
        whole = run(model, request)
        tokens = chosen(whole).tokens
        origins = [None, *(snapshot for _, snapshot in saved(whole))]
        origin = origins[which % len(origins)]  # how many there are follows from how fast bursts are
        begun = request if origin is None else go_on(request, origin)
        held = begun.before + where % (len(tokens) - begun.before + 1)
        rest = run(model, replace(begun, replay=tokens[begun.before : held]))
        assert chosen(rest).tokens.tolist() == tokens[held:].tolist()
        assert text(rest) == text(whole)[held:]
        assert rest[-1].finish == whole[-1].finish
        assert same(rest[-1].snapshot, whole[-1].snapshot)

    check()


@in_two_lengths(10, 40)
def test_a_prompt_may_be_read_in_parts(model: Model, cases: int) -> None:
    @settings(max_examples=cases)
    @given(guest=GUESTS, cut=st.integers(0, 40))
    def check(guest: Guest, cut: int) -> None:
        request = guest.request(model)
        first = replace(request, prompt=request.prompt[:cut], max_tokens=0, min_tokens=0, returns_state=True)
        (read,) = run(model, first)
        assert (read.finish, read.text, read.position) == (Finish.LENGTH, "", len(first.prompt))
        second = replace(request, prompt=request.prompt[cut:], origin=read.snapshot)
        for of_parts, whole in zip(updates(model, second, n=2), updates(model, request, n=2), strict=True):
            assert text(of_parts) == text(whole)
            assert chosen(of_parts).logprobs.tobytes() == chosen(whole).logprobs.tobytes()

    check()


@in_two_lengths(10, 40)
def test_a_text_that_is_scored_has_the_log_probabilities_of_one_that_is_generated(
    model: Model, cases: int
) -> None:
    @settings(max_examples=cases)
    @given(guest=GUESTS, burst=st.sampled_from([1, 4, 30]))
    def check(guest: Guest, burst: int) -> None:
        request = replace(guest.request(model), logprobs=3, stop=(), min_tokens=0)
        written = chosen(run(model, request))
        known = Request(
            request.prompt,
            len(written),
            0,
            logprobs=3,
            labels=request.labels,
            replay=written.tokens,
            scored=True,
        )
        scored = chosen(run(model, known, burst))
        assert scored.tokens.tolist() == written.tokens.tolist()
        assert scored.logprobs.tobytes() == written.logprobs.tobytes()
        assert scored.top_tokens.tolist() == written.top_tokens.tolist()

    check()


@pytest.mark.parametrize("steps", range(1, 6))
def test_an_engine_may_be_abandoned_while_a_text_is_read_again(model: Model, steps: int) -> None:
    replay = model.bundle.vocabulary.encode("The state")
    engine = model.engine(SchedulerConfig(max_streams=4, max_burst=3, latency_budget=9))
    stream = engine.submit(Request(no_tokens(), 50, 0, replay=replay, state_interval=5))
    for _ in range(steps):
        engine.step()
    was_read = stream.forced_left == 0
    *states, end = engine.abandon(DrainingError()).updates
    assert isinstance(end.error, DrainingError)
    assert [update.snapshot is not None for update in states] == [True] * was_read
    assert all(update.position == stream.position for update in states)


def test_the_last_state_of_a_text_stands_where_its_last_token_went_out(model: Model) -> None:
    engine = model.engine(SchedulerConfig(max_streams=4, max_burst=3, latency_budget=9))
    stops = tuple(f"{letter}#" for letter in "aehinorst")
    stream = engine.submit(Request(no_tokens(), 500, 0, stop=stops, state_interval=100))
    while stream.position == stream.visible:
        engine.step()  # until a letter is held back that may begin a stop string
    last = merge(engine.abandon(DrainingError()).updates)
    assert last.snapshot is not None
    assert last.position == last.snapshot.position == stream.visible


def test_nothing_to_read_and_nothing_to_say_gives_the_state_it_began_with(model: Model) -> None:
    request = Request(no_tokens(), 0, 0, returns_state=True)
    (fresh,) = run(model, request)
    assert fresh.snapshot is not None
    assert fresh.snapshot.last == model.bundle.vocabulary.start
    (again,) = run(model, replace(request, origin=fresh.snapshot))
    assert again.snapshot is not None
    assert same(again.snapshot, fresh.snapshot)


def test_who_asks_for_no_state_gets_none(model: Model) -> None:
    vocabulary = model.bundle.vocabulary
    options = GenerateOptions(max_tokens=50, seed=1, ignore_end=True)
    request = prepare("The ", options, vocabulary)
    assert not list(saved(run(model, request)))
    places = [s.position for _, s in saved(run(model, replace(request, state_interval=20), burst=10))]
    assert len(places) == 2
    assert all(20 <= later - sooner < 30 for sooner, later in pairwise([4, *places]))
    ends = [s.position for _, s in saved(run(model, replace(request, returns_state=True)))]
    assert ends == [54]


def test_penalties_see_what_came_before_the_snapshot(model: Model) -> None:
    prompt = model.bundle.vocabulary.encode("eeeeeeee")
    (read,) = run(model, Request(prompt, 0, 0, returns_state=True))
    assert read.snapshot is not None
    assert np.array_equal(read.snapshot.recent, prompt)
