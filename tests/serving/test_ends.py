"""Records end: what a text is then, and where its stream goes on."""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charloom.v1.charloom_pb2 as pb
from charloom.options import GenerateOptions, InvalidRequestError
from charloom.vocabulary import CharacterVocabulary, SpecialTokens, Tokens, no_tokens
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request, prepare
from serving.engine.token_rules import FOREVER, TokenRules
from serving.engine.update import Finish, Update
from serving.model import Model
from tests.charloom.vocabulary.byte_pairs import BytePairVocabulary
from tests.serving.conftest import AlphabetRunner, NoCost, in_two_lengths
from tests.serving.records import record_model
from tests.serving.test_conversation import Talk, stands
from tests.serving.test_engine import drain, text
from tests.serving.test_snapshot import chosen, run, same, together
from tests.serving.test_snapshot import text as text_of

Z_ENDS = CharacterVocabulary("abcdefghijklmnopqrstuvwxy", SpecialTokens(end=True))
"""The fake runner's next token after y is 25, the end; after the start token it is b."""
END = 25


def make_engine(runner: AlphabetRunner | None = None, **config: float) -> Engine:
    settings = {"max_streams": 4, "max_waiting": 4, "max_burst": 8, "latency_budget": 1e9} | config
    engine = Engine(runner or AlphabetRunner(), Z_ENDS, SchedulerConfig(**settings))
    engine.scheduler.cost = NoCost()
    return engine


def read(*words: str) -> Tokens:
    """The tokens of records, each with its end, and of the last one without."""
    *whole, last = (Z_ENDS.encode(word) for word in words)
    return np.concatenate([*(np.append(record, END) for record in whole), last])


@pytest.mark.parametrize("burst", [1, 2, 3, 8])
def test_the_end_of_a_record_ends_its_text(burst: int) -> None:
    runner = AlphabetRunner()
    engine = make_engine(runner, max_burst=burst)
    stream = engine.submit(Request(read("v"), 30, 0, logprobs=0, returns_state=True))
    updates = drain(engine)[stream]
    assert text(updates) == "wxy"
    assert chosen(updates).tokens.tolist() == [22, 23, 24]
    last = updates[-1]
    assert (last.finish, last.end_logprob, stream.released) == (Finish.END, -25.0, 3)
    assert last.snapshot is not None
    assert last.position == last.snapshot.position == 1 + 3 + 1
    assert last.snapshot.last == Z_ENDS.start
    assert len(last.snapshot.recent) == 0
    assert last.snapshot.state == {"steps_run": [[0]]}
    assert engine.empty
    assert engine.slots.used == 0


def test_a_plain_text_that_ends_stays_on_the_plain_graph_and_a_log_probability_comes_by_request() -> None:
    kinds = []

    class Watched(AlphabetRunner):
        def run(self, kind: Any, feeds: Any, slots: Any) -> Any:
            kinds.append(kind)
            return super().run(kind, feeds, slots)

    engine = make_engine(Watched())
    stream = engine.submit(Request(read("v"), 30, 0, returns_state=True))
    updates = drain(engine)[stream]
    assert (updates[-1].finish, updates[-1].end_logprob) == (Finish.END, None)
    assert kinds == ["plain"]


def test_a_text_of_exactly_its_length_ends_by_that() -> None:
    engine = make_engine()
    exact, one_more = (engine.submit(Request(read("v"), most, 0)) for most in (3, 4))
    updates = drain(engine)
    assert [updates[s][-1].finish for s in (exact, one_more)] == [Finish.LENGTH, Finish.END]
    assert text(updates[exact]) == text(updates[one_more]) == "wxy"


@pytest.mark.parametrize(
    ("stop", "rest", "finish"),
    [("yz", "wxy", Finish.END), ("y", "wx", Finish.STOP), ("xy", "w", Finish.STOP)],
)
@pytest.mark.parametrize("burst", [1, 8])
def test_a_stop_string_counts_before_the_end_and_what_it_held_back_is_sent(
    stop: str, rest: str, finish: Finish, burst: int
) -> None:
    engine = make_engine(max_burst=burst)
    stream = engine.submit(Request(read("v"), 30, 0, stop=(stop,), returns_state=True))
    updates = drain(engine)[stream]
    assert (text(updates), updates[-1].finish) == (rest, finish)
    assert updates[-1].snapshot is not None
    assert (updates[-1].snapshot.last == Z_ENDS.start) == (finish is Finish.END)


def test_the_end_in_a_text_that_is_read_begins_the_next_record() -> None:
    runner = AlphabetRunner()
    engine = make_engine(runner)
    stream = engine.submit(Request(read("", "abc", "", "k"), 5, 0, returns_state=True))
    company = engine.submit(Request(read("abcdefg"), 9, 0))
    updates = drain(engine)
    assert text(updates[stream]) == "lmnop"
    assert text(updates[company]) == "hijklmnop"
    snapshot = updates[stream][-1].snapshot
    assert snapshot is not None
    assert snapshot.state == {"steps_run": [[1 + 5]]}  # k and the five
    assert snapshot.position == 3 + 3 + 1 + 5
    assert Z_ENDS.decode(snapshot.recent) == "klmnop"


def test_a_stream_goes_on_behind_an_end_that_comes_last() -> None:
    engine = make_engine()
    prompt = read("abc", "")
    streams = engine.submit_texts(Request(prompt, 3, 0), 3)
    updates = drain(engine)
    assert [text(updates[stream]) for stream in streams] == ["bcd"] * 3
    reading = engine.submit(Request(prompt, 0, 0, returns_state=True))
    (only,) = drain(engine)[reading]
    assert only.snapshot is not None
    assert (only.finish, only.snapshot.position, only.snapshot.last) == (Finish.LENGTH, 4, Z_ENDS.start)
    assert len(only.snapshot.recent) == 0


def test_ends_that_are_replayed_are_read() -> None:
    engine = make_engine()
    stream = engine.submit(Request(no_tokens(), 9, 0, replay=read("bc", "bcd")))
    assert text(drain(engine)[stream]) == "efg"


def test_a_scored_record_has_its_end_as_its_last_token() -> None:
    engine = make_engine()
    record = read("ab", "")
    stream = engine.submit(Request(no_tokens(), len(record), 0, logprobs=0, replay=record, scored=True))
    updates = drain(engine)[stream]
    assert chosen(updates).tokens.tolist() == [0, 1, END]
    assert [t for u in updates for t in u.texts] == ["a", "b", ""]
    assert updates[-1].finish is Finish.LENGTH


def test_a_decoder_begins_anew_behind_an_end() -> None:
    vocabulary = BytePairVocabulary(special=SpecialTokens(end=True))
    prompt = np.array([0xE4, vocabulary.end])
    engine = Engine(AlphabetRunner(), vocabulary, SchedulerConfig(max_streams=2))
    stream = engine.submit(Request(prompt, 1, 0))
    assert not stream.detokenizer._decoder.unfinished


RECORD = CharacterVocabulary("abcd", SpecialTokens(end=True, unknown=True))


@pytest.mark.parametrize(
    ("options", "until"),
    [
        ({}, {}),
        ({"min_tokens": 7}, {4: 7}),
        ({"ignore_end": True}, {4: FOREVER}),
        ({"ignore_end": True, "min_tokens": 7, "stop_tokens": "a"}, {4: FOREVER, 0: 7}),
        ({"stop_tokens": (4,), "min_tokens": 2}, {4: 2}),
    ],
)
def test_what_forbids_an_end(options: dict[str, Any], until: dict[int, int]) -> None:
    rules = TokenRules.of(GenerateOptions(**options), RECORD)
    assert dict(zip(rules.biased.tolist(), rules.until.tolist(), strict=True)) == until
    assert np.isneginf(rules.bias).all()
    assert rules.allowed is None


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"allowed_tokens": tuple("ab")}, {0, 1, 4}),
        ({"forbidden_tokens": tuple("ab")}, {2, 3, 4, 5}),
        ({"forbidden_tokens": (4,)}, {0, 1, 2, 3, 5}),
        ({"allowed_tokens": tuple("ab"), "forbidden_tokens": (4, "a")}, {1}),
    ],
)
def test_what_is_allowed_does_not_concern_the_end(options: dict[str, Any], allowed: set[int]) -> None:
    rules = TokenRules.of(GenerateOptions(**options), RECORD)
    assert rules.allowed is not None
    assert set(np.flatnonzero(rules.allowed).tolist()) == allowed


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"allowed_tokens": (5,), "forbidden_tokens": (4,)}, "forbidden_tokens"),  # the unknown token is none
        ({"forbidden_tokens": tuple("abcd"), "ignore_end": True}, "ignore_end"),
        ({"allowed_tokens": "a", "stop_tokens": "a", "min_tokens": 1}, "min_tokens"),
    ],
)
def test_some_token_must_be_left(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        TokenRules.of(GenerateOptions(**options), RECORD)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.fixture(scope="module")
def model() -> Model:
    return record_model()


def generated(model: Model, **options: Any) -> list[Update]:
    return run(model, prepare("", GenerateOptions(**options), model.bundle.vocabulary, logprobs=0))


def test_ends_are_forbidden_as_asked(model: Model) -> None:
    seeds = range(12)
    free = [generated(model, seed=seed, max_tokens=60)[-1] for seed in seeds]
    assert {end.finish for end in free} == {Finish.END}
    for seed, end in zip(seeds, free, strict=True):
        assert end.end_logprob is not None
        long = generated(model, seed=seed, max_tokens=60, min_tokens=40)
        assert 40 <= len(text_of(long)) <= 60
        forever = generated(model, seed=seed, max_tokens=60, ignore_end=True, top_k=3)
        assert (len(text_of(forever)), forever[-1].finish) == (60, Finish.LENGTH)
        assert model.bundle.vocabulary.unknown not in chosen(forever).tokens


def test_the_log_probabilities_of_a_text_and_its_end_are_those_of_the_record(model: Model) -> None:
    written = generated(model, seed=1, max_tokens=200)
    end, sampled = written[-1], chosen(written)
    record = np.append(sampled.tokens, model.bundle.vocabulary.end)
    scored = chosen(
        run(model, Request(no_tokens(), len(record), 0, logprobs=0, replay=record, scored=True), burst=5)
    )
    assert scored.logprobs[:-1].tobytes() == sampled.logprobs.tobytes()
    assert scored.logprobs[-1] == np.float32(end.end_logprob)


@in_two_lengths(15, 60)
def test_a_stream_that_read_records_stands_in_the_last_one_alone(model: Model, cases: int) -> None:
    """To the bit, whatever is read beside it and however bursts cut it."""
    end = model.bundle.vocabulary.end
    assert end is not None
    tokens = st.lists(st.integers(0, end - 1) | st.just(end), max_size=30)

    @settings(max_examples=cases)
    @given(st.lists(tokens, min_size=1, max_size=5), st.sampled_from([1, 4, 7, 30]))
    def check(streams: list[list[int]], burst: int) -> None:
        requests = [Request(np.array(stream, np.int64), 0, 0, returns_state=True) for stream in streams]
        last = [stream[len(stream) - stream[::-1].index(end) :] if end in stream else stream
                for stream in streams]  # fmt: skip
        alone = [Request(np.array(stream, np.int64), 0, 0, returns_state=True) for stream in last]
        ends = together(model, requests, burst)
        for stream, (found,), (expected,) in zip(streams, ends, together(model, alone, 9), strict=True):
            assert found.snapshot is not None
            assert expected.snapshot is not None
            assert found.snapshot.position == found.position == len(stream)
            assert same(replace(found.snapshot, position=expected.snapshot.position), expected.snapshot)

    check()


def test_a_conversation_goes_from_record_to_record(model: Model) -> None:
    vocabulary = model.bundle.vocabulary
    end = vocabulary.end
    assert end is not None

    async def talk_on() -> None:
        async with Talk(model) as talk:
            tokens: list[int] = []
            for seed in range(6):
                parts = await talk.text(seed=seed, max_tokens=30, prompt="a" * (seed % 2), logprobs=0)
                finish = parts[-1].finish
                heard = [token for part in parts for token in part.token_ids]
                tokens += [*vocabulary.encode("a" * (seed % 2)).tolist(), *heard]
                if finish.reason == pb.FINISH_REASON_END:
                    tokens.append(end)
                    assert finish.HasField("end_logprob")
                assert finish.generated_tokens == len(heard)
                saved = (await talk.ask(save=pb.Save())).saved
                assert saved.position == parts[-1].position == len(tokens)
            assert tokens.count(end) >= 2
            gone = len(tokens) - tokens.index(end, len(tokens) - 40) + 2  # into the record before an end
            event = await talk.ask(rewind=pb.Rewind(tokens=gone))
            assert event.rewound.text == vocabulary.decode(tokens[-gone:])
            tokens = tokens[:-gone]
            fed = (await talk.ask(feed=pb.Feed(text="a", token_ids=[end, 0, 1]))).fed
            assert fed.text == "a" + vocabulary.decode([0, 1])
            tokens += [*vocabulary.encode("a").tolist(), end, 0, 1]
            event = await talk.ask(rewind=pb.Rewind(characters=3))  # into the record before the end
            assert event.rewound.text == "a" + vocabulary.decode([0, 1])
            tokens = tokens[:-4]
            assert (await talk.ask(fork=pb.Fork(name="b"))).HasField("forked")
            parts = await talk.text("b", seed=3, max_tokens=20, ignore_end=True)
            assert parts[-1].finish.reason == pb.FINISH_REASON_LENGTH
            event = await talk.ask(save=pb.Save())
            await stands(model, tokens, event.saved.token)

    asyncio.run(talk_on())


@pytest.mark.parametrize(
    ("delimiter", "stop", "words"),
    [
        (None, "abc", None),
        (None, "a c", "the model's vocabulary lacks ' '"),
        ("xy", "axyb", "no record of this model holds 'xy'"),
        ("xy", "ayxb", None),
    ],
)
def test_a_stop_that_no_text_can_hold_is_noted(delimiter: str | None, stop: str, words: str | None) -> None:
    request = prepare("", GenerateOptions(stop=(stop,)), Z_ENDS, delimiter=delimiter)
    said = [] if words is None else [f"the stop {stop!r} never ends a text: {words}"]
    assert list(request.notes) == said


def test_bytes_can_form_any_stop() -> None:
    vocabulary = BytePairVocabulary()
    assert not prepare("", GenerateOptions(stop=("☃",)), vocabulary).notes
