"""Stops come out the same however the text is cut, in characters and in bytes."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charloom.vocabulary import CharacterVocabulary, Tokens, Vocabulary, no_tokens
from serving.engine.detokenizer import Detokenizer
from serving.engine.sampled_tokens import SampledTokens, concatenate
from serving.engine.stop_checker import StopChecker
from tests.charloom.vocabulary.byte_pairs import BytePairVocabulary

LETTERS = CharacterVocabulary("abcd")
BYTES = BytePairVocabulary([b"ab", b"b\xc3", b"\xa9a", b"\xe4\xbd", b"\xa0c", b"bca"])
"""Pieces of é and 你 beside letters."""
STOP_TOKENS = st.sampled_from([(), (), (3,), (1, 3)])
MIN_TOKENS = st.sampled_from([0, 0, 1, 2, 5, 20])
CUTS = st.lists(st.integers(0, 40))


@dataclass(frozen=True)
class Sent:
    """What came out of a detokenizer in the end."""

    text: str
    tokens: list[int]
    stopped: bool


def sampled_of(tokens: Tokens) -> SampledTokens:
    """Tokens with log-probabilities and two alternatives that show whose they are."""
    both = np.stack([tokens, tokens + 10], 1)
    return SampledTokens(tokens, -tokens.astype(np.float32), both, -both.astype(np.float32))


def detokenizer(
    vocabulary: Vocabulary, stops: list[str], stop_tokens: tuple[int, ...] = (), min_tokens: int = 0
) -> Detokenizer:
    return Detokenizer(vocabulary.decoder(), StopChecker(tuple(stops), stop_tokens), min_tokens)


def send(tokens: Tokens, subject: Detokenizer, cuts: list[int]) -> Sent:
    """Puts tokens into a detokenizer in parts."""
    out, sent = "", []
    bounds = [0, *sorted({min(cut, len(tokens)) for cut in cuts} | {len(tokens)})]
    for begin, end in itertools.pairwise(bounds):
        released = subject.put(sampled_of(tokens[begin:end]), final=end == len(tokens))
        assert len(released.texts) == len(released.sampled)
        out += "".join(released.texts)
        sent.append(released.sampled)
        if released.stopped:
            break
    together = concatenate(sent) if sent else sampled_of(tokens[:0])
    expected = sampled_of(together.tokens)
    assert together.logprobs.tolist() == expected.logprobs.tolist()
    assert together.top_tokens.tolist() == expected.top_tokens.tolist()
    assert together.top_logprobs.tolist() == expected.top_logprobs.tolist()
    return Sent(out, together.tokens.tolist(), bool(sent) and released.stopped)


def one_by_one(
    vocabulary: Vocabulary, tokens: Tokens, stops: list[str], stop_tokens: tuple[int, ...], min_tokens: int
) -> Sent:
    """What a reader of single tokens does, to whom nothing is held back."""
    for length in range(1, len(tokens) + 1):
        if tokens[length - 1] in stop_tokens:
            before = tokens[: length - 1]
            return Sent(vocabulary.decode(before), before.tolist(), True)
        text, fresh = vocabulary.decode(tokens[:length]), len(vocabulary.decode(tokens[: length - 1]))
        ends = [
            (place + len(stop), place)
            for stop in stops
            for place in range(len(text))
            if text.startswith(stop, place) and place + len(stop) > fresh
        ]
        if ends and length > min_tokens:
            rest = text[: min(ends)[1]]
            needed = next(n for n in range(length + 1) if len(vocabulary.decode(tokens[:n])) >= len(rest))
            return Sent(rest, tokens[:needed].tolist(), True)
    return Sent(vocabulary.decode(tokens), tokens.tolist(), False)


@given(
    st.text("abcd", max_size=40),
    st.lists(st.text("abc", min_size=1, max_size=5), max_size=4),
    STOP_TOKENS,
    MIN_TOKENS,
    CUTS,
)
@example("abcab", ["abca", "bc"], (), 0, [3])
@example("aab", ["ab"], (), 0, [1, 2])
@example("aaaa", ["aa"], (), 2, [2])
@example("abdab", ["ab"], (3,), 2, [2, 3])
def test_the_outcome_is_that_of_reading_single_tokens_however_the_text_is_cut(
    text: str, stops: list[str], stop_tokens: tuple[int, ...], min_tokens: int, cuts: list[int]
) -> None:
    tokens = LETTERS.encode(text)
    expected = one_by_one(LETTERS, tokens, stops, stop_tokens, min_tokens)
    for some in (cuts, [], list(range(len(text)))):
        assert send(tokens, detokenizer(LETTERS, stops, stop_tokens, min_tokens), some) == expected


PIECES = st.sampled_from([*map(ord, "abc"), 0xC3, 0xA9, 0xE4, 0xBD, 0xA0, *range(256, BYTES.size)])


@given(
    st.lists(PIECES, max_size=30).map(lambda ids: np.array(ids, np.int64)),
    st.lists(st.text("abcé你", min_size=1, max_size=4), max_size=4),
    st.sampled_from([(), (), (256,), (0xA9,)]),
    MIN_TOKENS,
    CUTS,
)
@example(BYTES.encode("aé"), ["é"], (), 0, [2])
@example(BYTES.encode("ab你"), ["你"], (), 0, [1, 2, 3])
def test_so_it_is_where_characters_and_tokens_cut_each_other(
    tokens: Tokens, stops: list[str], stop_tokens: tuple[int, ...], min_tokens: int, cuts: list[int]
) -> None:
    expected = one_by_one(BYTES, tokens, stops, stop_tokens, min_tokens)
    for some in (cuts, [], list(range(len(tokens)))):
        assert send(tokens, detokenizer(BYTES, stops, stop_tokens, min_tokens), some) == expected


def test_holds_back_no_more_than_it_must() -> None:
    subject = detokenizer(LETTERS, ["ccc"])
    assert subject.put(sampled_of(LETTERS.encode("abcc")), final=False).texts == ["a", "b"]
    assert subject.put(sampled_of(LETTERS.encode("a")), final=False).texts == ["c", "c", "a"]


@pytest.mark.parametrize("text", ["abé", "a你ab"])
def test_a_stop_string_inside_a_token_cuts_the_text_there(text: str) -> None:
    vocabulary = BytePairVocabulary([text.encode()])
    released = detokenizer(vocabulary, [text[1]]).put(sampled_of(vocabulary.encode(f"{text}c")), final=False)
    assert (released.texts, released.sampled.tokens.tolist(), released.stopped) == (["a"], [256], True)


def test_tokens_of_an_unfinished_character_go_out_without_text_unless_a_stop_may_begin_there() -> None:
    tokens = BYTES.encode("cé")[:2]
    assert detokenizer(BYTES, []).put(sampled_of(tokens), final=False).texts == ["c", ""]
    assert detokenizer(BYTES, ["é"]).put(sampled_of(tokens), final=False).texts == ["c"]
    assert detokenizer(BYTES, ["é"]).put(sampled_of(tokens), final=True).texts == ["c", ""]


def test_a_text_goes_on_in_the_middle_of_a_character() -> None:
    tokens = BYTES.encode("cé")
    subject = Detokenizer(BYTES.decoder(tokens[:2]), StopChecker(("é",)), sent=2)
    released = subject.put(sampled_of(tokens[2:]), final=False)
    assert (released.texts, released.stopped) == ([], True)
    assert no_tokens().tolist() == released.sampled.tokens.tolist()
