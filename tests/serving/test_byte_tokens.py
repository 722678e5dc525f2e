"""Streams of a model whose tokens are no characters: cut, saved, replayed and scored anywhere."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.options import GenerateOptions, InvalidRequestError
from charloom.score import Score
from charloom.vocabulary import Tokens, no_tokens
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request, prepare
from serving.engine.text_requests import texts_to_score
from serving.engine.text_scorer import TextScorer
from serving.engine.token_rules import TokenRules
from serving.engine.update import Update
from serving.local import run
from tests.charloom.vocabulary.byte_pairs import BytePairVocabulary
from tests.serving.conftest import AlphabetRunner, in_two_lengths

BYTES = BytePairVocabulary()
STREAMS = 50
"""As many as a text here has tokens."""
SEQUENCE = BYTES.encode("é你 the 🚀\n\nand e\u0301 x你")


class SequenceRunner(AlphabetRunner):
    """Generates a text again and again, byte by byte where its characters are of several tokens."""

    def next(self, last: Tokens, steps_run: Tokens) -> Tokens:
        return SEQUENCE[steps_run % len(SEQUENCE)]


def make_engine(burst: int) -> Engine:
    """An engine whose bursts have up to so many steps."""
    config = SchedulerConfig(max_streams=STREAMS, max_burst=burst, latency_budget=1e9)
    engine = Engine(SequenceRunner(streams=STREAMS), BYTES, config)
    engine.scheduler.cost.learn(1, 1, 1e-9)
    return engine


def updates(request: Request, burst: int) -> list[Update]:
    """What comes of a request in bursts of up to so many steps."""
    engine = make_engine(burst)
    return [update for _, update in run(engine, [engine.submit(request)])]


def together(requests: list[Request], burst: int) -> list[list[Update]]:
    """What comes of many requests at once."""
    engine = make_engine(burst)
    found: list[list[Update]] = [[] for _ in requests]
    for index, update in run(engine, engine.submit_all(requests)):
        found[index].append(update)
    return found


def text(found: list[Update]) -> str:
    return "".join(update.text for update in found)


def expected(count: int, prompt: int = 0) -> str:
    """The text of so many tokens that are generated after those of a prompt."""
    return BYTES.decode(np.resize(np.roll(SEQUENCE, -prompt), count))


@in_two_lengths(40, 200)
def test_no_burst_cuts_a_character(cases: int) -> None:
    @settings(max_examples=cases)
    @given(count=st.integers(1, 60), burst=st.integers(1, 9), prompt=st.sampled_from(["", "a", "the é"]))
    def check(count: int, burst: int, prompt: str) -> None:
        read = BYTES.encode(prompt)
        found = updates(Request(read, count, 0), burst)
        for update in found:
            assert "\ufffd" not in update.text
            assert len(update.texts) == len(update.sampled)
        assert sum(len(update.sampled) for update in found) == count
        assert text(found) == expected(count, len(read)).removesuffix("\ufffd")
        assert found[-1].position == len(read) + count

    check()


@in_two_lengths(40, 200)
def test_a_text_goes_on_from_a_state_in_the_middle_of_a_character(cases: int) -> None:
    @settings(max_examples=cases)
    @given(count=st.integers(1, 50), interval=st.integers(1, 9), burst=st.integers(1, 9))
    def check(count: int, interval: int, burst: int) -> None:
        request = Request(BYTES.encode("a"), count, 0, state_interval=interval, returns_state=True)
        found = updates(request, burst)
        places, rests = [], []
        for place, update in enumerate(found, 1):
            if update.snapshot is not None:
                before = update.snapshot.position - request.start
                places.append(place)
                rests.append(replace(request, prompt=no_tokens(), origin=update.snapshot, before=before))
        assert places
        for place, rest in zip(places, together(rests, burst), strict=True):
            assert text(found[:place]) + text(rest) == text(found)

    check()


@in_two_lengths(40, 200)
def test_a_text_goes_on_after_tokens_that_are_replayed(cases: int) -> None:
    @settings(max_examples=cases)
    @given(count=st.integers(1, 50), known=st.integers(0, 50), burst=st.integers(1, 9))
    def check(count: int, known: int, burst: int) -> None:
        request = Request(BYTES.encode("é"), count, 0)
        whole = updates(request, 50)
        tokens = np.concatenate([update.sampled.tokens for update in whole])[: min(known, count - 1)]
        rest = updates(replace(request, replay=tokens), burst)
        assert BYTES.decode(tokens) + text(rest) == text(whole)

    check()


@pytest.mark.parametrize(
    ("stop", "ends", "tokens"),
    [
        ("你", "é", 1),
        ("h", "é你 t", 4),
        ("🚀", "é你 the ", 6),
        ("\n\n", "é你 the 🚀", 9),
        ("\nan", "é你 the 🚀\n", 10),
    ],
)
@pytest.mark.parametrize("burst", [1, 2, 50])
def test_a_stop_string_ends_a_text_inside_a_token_with_the_state_after_it(
    stop: str, ends: str, tokens: int, burst: int
) -> None:
    request = Request(no_tokens(), 50, 0, stop=(stop,), returns_state=True)
    found = updates(request, burst)
    assert text(found) == ends
    last = found[-1].snapshot
    assert last is not None
    assert last.position == int(last.state["steps_run"][0, 0]) == tokens


@given(
    texts=st.lists(st.text("é你 the🚀ax\n", min_size=1), min_size=1, max_size=4),
    prompt=st.text("é ", max_size=3),
)
def test_scores_pair_every_token_with_the_text_that_it_completes(texts: list[str], prompt: str) -> None:
    engine = make_engine(3)
    scores = [Score() for _ in texts]
    prepared = texts_to_score(texts, prompt, BYTES, skip=False)
    scorers = [TextScorer(one, BYTES.size, -9.0) for one in prepared]
    for index, update in run(engine, engine.submit_all([one.request for one in prepared])):
        scores[index].extend(scorers[index].part(update))
    for score, one in zip(scores, texts, strict=True):
        assert score.text == one
        assert score.token_ids == BYTES.encode(one).tolist()
        assert len(score.token_texts) == len(score.token_ids)
        assert score.bits_per_character == pytest.approx(score.nats / np.log(2) / len(one))
        assert score.nats_per_token == pytest.approx(score.nats / len(score.token_ids))


@given(
    text=st.text("é你 the☃ø", max_size=9),
    burst=st.sampled_from([1, 2, 5]),
    skip=st.booleans(),
)
def test_unknown_characters_stand_where_they_are_in_the_text(text: str, burst: int, skip: bool) -> None:
    """Or behind the token that has the characters around them."""
    few = BytePairVocabulary([b"th"], b" abehinot" + "é".encode())
    engine = Engine(AlphabetRunner(), few, SchedulerConfig(max_streams=2, max_burst=burst))
    [prepared] = texts_to_score([text], "", few, skip=skip)
    scorer, score = TextScorer(prepared, few.size, -0.25), Score()
    for _, update in run(engine, engine.submit_all([prepared.request])):
        score.extend(scorer.part(update))
    known = "".join(character for character in text if few.knows(character))
    strangers = len(text) - len(known)
    assert score.unknown == strangers
    assert score.logprobs.count(-0.25) == score.token_ids.count(few.size) == (0 if skip else strangers)
    assert (
        "".join(t for t, i in zip(score.token_texts, score.token_ids, strict=True) if i < few.size) == known
    )
    assert score.text == known if skip else sorted(score.text) == sorted(text)
    if "th" not in known:
        assert score.text == (known if skip else text)


def test_rules_name_tokens_by_their_whole_text_or_their_id() -> None:
    options = GenerateOptions(logit_bias={" the ": 1.0, 0xC3: 2.0}, stop_tokens="\n\n")
    rules = TokenRules.of(options, BYTES)
    assert [*rules.biased.tolist(), *rules.stop] == [BYTES.find(" the "), 0xC3, BYTES.find("\n\n")]
    with pytest.raises(InvalidRequestError, match="none of the model's"):
        TokenRules.of(GenerateOptions(stop_tokens="你"), BYTES)


def test_a_request_is_encoded_by_the_vocabulary_and_unknown_characters_are_named() -> None:
    assert prepare("é你", GenerateOptions(), BYTES).prompt.tolist() == BYTES.encode("é你").tolist()
    with pytest.raises(InvalidRequestError, match="characters outside the model's vocabulary"):
        prepare("a\ud800", GenerateOptions(), BYTES)
