"""Stops come out the same however the text is cut."""

import itertools
from dataclasses import dataclass

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from charloom.vocabulary import CharacterVocabulary, Tokens
from serving.engine.outbox import Outbox
from serving.engine.sampled_tokens import SampledTokens, concatenate

LETTERS = CharacterVocabulary("abcd")
TEXTS = st.text("abcd", max_size=40)
STOPS = st.lists(st.text("abc", min_size=1, max_size=5), max_size=4)
STOP_TOKENS = st.sampled_from([(), (), (3,), (1, 3)])
MIN_TOKENS = st.sampled_from([0, 0, 1, 2, 5, 20])
CUTS = st.lists(st.integers(0, 40))


@dataclass(frozen=True)
class Sent:
    """What came out of an outbox in the end."""

    text: str
    tokens: list[int]
    stopped: bool


def choices_of(tokens: Tokens) -> SampledTokens:
    """Tokens with log-probabilities and two alternatives that show whose they are."""
    both = np.stack([tokens, tokens + 10], 1)
    return SampledTokens(tokens, -tokens.astype(np.float32), both, -both.astype(np.float32))


def send(text: str, outbox: Outbox, cuts: list[int]) -> Sent:
    """Puts a text into an outbox in parts."""
    tokens = LETTERS.encode(text)
    out, sent = "", []
    bounds = [0, *sorted({min(cut, len(text)) for cut in cuts} | {len(text)})]
    for begin, end in itertools.pairwise(bounds):
        parcel = outbox.put(LETTERS, choices_of(tokens[begin:end]), final=end == len(text))
        out += parcel.text
        sent.append(parcel.choices)
        if parcel.stopped:
            break
    together = concatenate(sent) if sent else choices_of(tokens[:0])
    expected = choices_of(together.tokens)
    assert together.logprobs.tolist() == expected.logprobs.tolist()
    assert together.top_tokens.tolist() == expected.top_tokens.tolist()
    assert together.top_logprobs.tolist() == expected.top_logprobs.tolist()
    return Sent(out, together.tokens.tolist(), bool(sent) and parcel.stopped)


def one_by_one(text: str, stops: list[str], stop_tokens: tuple[int, ...], min_tokens: int) -> Sent:
    """What a reader of single characters does, to whom nothing is held back."""
    for length in range(1, len(text) + 1):
        if LETTERS.encode(text[length - 1]) in stop_tokens:
            return Sent(text[: length - 1], LETTERS.encode(text[: length - 1]).tolist(), True)
        complete = [stop for stop in stops if text[:length].endswith(stop)]
        if complete and length > min_tokens:
            rest = text[: length - max(map(len, complete))]
            return Sent(rest, LETTERS.encode(rest).tolist(), True)
    return Sent(text, LETTERS.encode(text).tolist(), False)


@given(TEXTS, STOPS, STOP_TOKENS, MIN_TOKENS, CUTS)
@example("abcab", ["abca", "bc"], (), 0, [3])
@example("aab", ["ab"], (), 0, [1, 2])
@example("aaaa", ["aa"], (), 2, [2])
@example("abdab", ["ab"], (3,), 2, [2, 3])
def test_the_outcome_is_that_of_reading_single_tokens_however_the_text_is_cut(
    text: str, stops: list[str], stop_tokens: tuple[int, ...], min_tokens: int, cuts: list[int]
) -> None:
    expected = one_by_one(text, stops, stop_tokens, min_tokens)
    for some in (cuts, [], list(range(len(text)))):
        assert send(text, Outbox(tuple(stops), stop_tokens, min_tokens), some) == expected


def test_holds_back_no_more_than_it_must() -> None:
    outbox = Outbox(("ccc",))
    assert outbox.put(LETTERS, choices_of(LETTERS.encode("abcc")), final=False).text == "ab"
    assert outbox.put(LETTERS, choices_of(LETTERS.encode("a")), final=False).text == "cca"


class Syllables(CharacterVocabulary):
    """A fake whose tokens have texts of several characters."""

    def pieces(self, tokens: object) -> list[str]:
        return [("na", "no", "ni", "n")[int(token)] for token in tokens]  # type: ignore[attr-defined]


def test_a_token_that_reaches_into_a_stop_string_goes_out_with_its_text_cut() -> None:
    outbox = Outbox(("on",))
    parcel = outbox.put(Syllables("abcd"), choices_of(np.array([0, 1, 2])), final=False)
    assert (parcel.text, parcel.choices.tokens.tolist(), parcel.stopped) == ("nan", [0, 1], True)
