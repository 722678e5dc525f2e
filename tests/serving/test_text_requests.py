"""Requests that read whole texts: what they read, and in how much memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charloom.vocabulary import CharacterVocabulary
from serving.engine.request import Request
from serving.engine.text_requests import scoring_requests


@given(
    prompt=st.lists(st.integers(0, 9), max_size=8),
    replay=st.lists(st.integers(0, 9), max_size=8),
    data=st.data(),
)
def test_what_is_read_is_the_prompt_and_then_the_replay(
    prompt: list[int], replay: list[int], data: st.DataObject
) -> None:
    request = Request(np.array(prompt, np.int64), 0, 0, replay=np.array(replay, np.int64))
    assert request.forced == len(prompt) + len(replay)
    place = data.draw(st.integers(0, request.forced))
    count = data.draw(st.integers(0, request.forced - place))
    assert np.concatenate([*request.read(place, count)]).tolist() == (prompt + replay)[place : place + count]


def test_scored_texts_share_their_prompt() -> None:
    """A million characters and 128 texts were a gigabyte."""
    requests = scoring_requests(["a"] * 128, "ab" * 1000, CharacterVocabulary("ab"), skip=False)
    first = requests[0]
    assert all(np.shares_memory(request.prompt, first.prompt) for request in requests)
    assert all(np.shares_memory(part, first.prompt) for part, _ in [first.read(0, 2001)])
