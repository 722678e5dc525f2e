"""Stop strings come out the same however the text is cut."""

import itertools

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from charloom.vocabulary import CharacterVocabulary
from serving.engine.outbox import Outbox

LETTERS = CharacterVocabulary("abc")
TEXTS = st.text("abc", max_size=40)
STOPS = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=4)


def send(text: str, stops: list[str], cuts: list[int]) -> tuple[str, list[int], bool]:
    """What comes out of an outbox that gets the text in parts: text, tokens, whether it stopped."""
    outbox = Outbox(tuple(stops))
    tokens = LETTERS.encode(text)
    out, sent = "", []
    bounds = [0, *sorted({min(cut, len(text)) for cut in cuts} | {len(text)})]
    for begin, end in itertools.pairwise(bounds):
        part = tokens[begin:end]
        parcel = outbox.put(LETTERS, part, -part.astype(np.float32), final=end == len(text))
        out += parcel.text
        sent += parcel.tokens.tolist()
        assert parcel.logprobs.tolist() == [-t for t in parcel.tokens]
        if parcel.stopped:
            return out, sent, True
    return out, sent, False


@given(TEXTS, STOPS, st.lists(st.integers(0, 40)))
@example("abcab", ["abca", "bc"], [3])
@example("aab", ["ab"], [1, 2])
def test_the_outcome_does_not_depend_on_the_cuts(text: str, stops: list[str], cuts: list[int]) -> None:
    one_by_one = send(text, stops, list(range(len(text))))
    assert send(text, stops, cuts) == one_by_one
    assert send(text, stops, []) == one_by_one


@given(TEXTS, STOPS)
def test_the_text_has_no_stop_string_and_loses_nothing_else(text: str, stops: list[str]) -> None:
    out, sent, stopped = send(text, stops, list(range(len(text))))
    assert text.startswith(out)
    assert LETTERS.decode(sent) == out
    assert not any(stop in out for stop in stops)
    assert stopped == any(stop in text for stop in stops)
    if stopped:
        assert any(text.startswith(stop, len(out)) for stop in stops)
    else:
        assert out == text


def test_holds_back_no_more_than_it_must() -> None:
    outbox = Outbox(("ccc",))
    parcel = outbox.put(LETTERS, LETTERS.encode("abcc"), np.zeros(4, np.float32), final=False)
    assert parcel.text == "ab"
    parcel = outbox.put(LETTERS, LETTERS.encode("a"), np.zeros(1, np.float32), final=False)
    assert parcel.text == "cca"
