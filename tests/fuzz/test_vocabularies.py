"""Any vocabulary is a mapping both ways or is refused; any text is encoded or named where it cannot be."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from charloom.vocabulary import (
    VOCABULARIES,
    CharacterVocabulary,
    UnknownCharacterError,
    VocabularyError,
    read_vocabulary,
)
from tests.fuzz.conftest import Rounds

CHARACTERS = st.characters() | st.sampled_from("\0\n\r\x1b\u2028\ud800\udfff\U0010ffff\u202e")
TEXTS = st.text(st.characters(codec=None) | CHARACTERS, max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
NEARLY = st.fixed_dictionaries(
    {"kind": st.just("character") | JSON, "characters": st.lists(CHARACTERS | TEXTS, max_size=30) | JSON},
    optional={"more": JSON},
)


OF_OTHER_KINDS = st.fixed_dictionaries(
    {"kind": st.sampled_from([*VOCABULARIES]) | JSON},
    optional={
        "tokens": st.lists(st.sampled_from(["the", " cat", "!", "\n", "ab", "a", "A"]) | TEXTS, max_size=9)
        | JSON,
        "pattern": st.sampled_from(["a+", "(", "[ab]*", r"\b", r"\C", "(a{99}){99}"]) | TEXTS | JSON,
        "merges": st.lists(st.lists(st.integers(-1, 260), max_size=3), max_size=5) | JSON,
        "unknown": st.booleans() | JSON,
        "end": st.booleans() | JSON,
        "more": JSON,
    },
)


def test_stored_vocabularies_of_all_kinds(rounds: Rounds) -> None:
    def check(case: tuple[Any, str]) -> None:
        stored, text = case
        try:
            vocabulary = read_vocabulary(stored)
        except VocabularyError:
            return
        again = read_vocabulary(json.loads(json.dumps(vocabulary.to_json())))
        assert again == vocabulary
        vocabulary.decode(np.arange(vocabulary.size))
        known = vocabulary.encode(text, skip_unknown=True)
        assert known.max(initial=0) < vocabulary.ids.ordinary
        if vocabulary.kind != "lower-words":
            assert len(vocabulary.decode(known)) == len(text) - sum(
                len(piece) for _, piece in vocabulary.unknown_pieces(text)
            )

    rounds.run(st.tuples(OF_OTHER_KINDS, TEXTS), check)


def test_stored_vocabularies(rounds: Rounds) -> None:
    def check(stored: Any) -> None:
        try:
            vocabulary = read_vocabulary(stored)
        except VocabularyError:
            return
        again = read_vocabulary(json.loads(json.dumps(vocabulary.to_json())))
        assert again == vocabulary
        assert vocabulary.decode(np.arange(vocabulary.size)) == "".join(vocabulary.characters)
        assert vocabulary.encode("".join(vocabulary.characters)).tolist() == list(range(vocabulary.size))

    rounds.run(NEARLY | JSON, check)


def test_texts_of_any_characters(rounds: Rounds) -> None:
    def check(case: tuple[str, str]) -> None:
        known, text = case
        vocabulary = CharacterVocabulary(sorted(set(known)))
        kept = "".join(character for character in text if character in known)
        assert vocabulary.decode(vocabulary.encode(text, skip_unknown=True)) == kept
        if kept == text:
            assert "".join(vocabulary.decoder().put(vocabulary.encode(text))) == text
            return
        with pytest.raises(UnknownCharacterError) as caught:
            vocabulary.encode(text)
        assert [text[place] for _, place in caught.value.found] == [
            character for character, _ in caught.value.found
        ]
        str(caught.value).encode()

    rounds.run(st.tuples(st.text(min_size=1, max_size=30), TEXTS), check)
