import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.bundle import to_json
from charloom.errors import CharloomError
from charloom.vocabulary import (
    CharacterBuilder,
    CharacterVocabulary,
    UnknownCharacterError,
    VocabularyError,
    digest,
    read_vocabulary,
)

texts = st.text(min_size=1)


@given(texts)
def test_a_text_survives_its_own_vocabulary(text):
    vocabulary = CharacterVocabulary.of_text(text)
    tokens = vocabulary.encode(text)
    assert tokens.dtype == np.int64
    assert len(tokens) == len(text)  # one token per code point, emoji and combining marks alike
    assert vocabulary.decode(tokens) == text


@given(texts)
def test_ids_follow_code_points_and_the_start_comes_after_them(text):
    vocabulary = CharacterVocabulary.of_text(text)
    assert vocabulary.characters == sorted(set(text), key=ord)
    assert vocabulary.start == vocabulary.size == len(set(text))
    assert vocabulary.inputs == vocabulary.size + 1


@given(st.permutations(list("abcdé👩")), st.text("abcdé👩"))
def test_characters_keep_the_ids_of_the_order_they_came_in(characters, text):
    vocabulary = CharacterVocabulary(characters)
    assert vocabulary.encode(text).tolist() == [characters.index(c) for c in text]
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.permutations(list("abcdé👩")), st.text("abcdé👩z", max_size=2))
def test_a_token_is_found_by_exactly_its_text(characters, text):
    found = CharacterVocabulary(characters).find(text)
    assert found == (characters.index(text) if text in characters else None)


@given(texts)
def test_a_token_completes_its_character(text):
    vocabulary = CharacterVocabulary.of_text(text)
    tokens = vocabulary.encode(text)
    decoder = vocabulary.decoder()
    pieces = decoder.put(tokens)
    assert pieces == [vocabulary.token_text(token) for token in tokens] == list(text)
    assert not decoder.unfinished


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_text_in_pieces_has_the_vocabulary_and_the_ids_of_the_whole(pieces):
    builder = CharacterBuilder()
    for piece in pieces:
        builder.put(piece)
    vocabulary, text = builder.build(), "".join(pieces)
    assert vocabulary == CharacterVocabulary.of_text(text)
    encoder = vocabulary.encoder()
    ids = [*(encoder.put(piece) for piece in pieces), encoder.finish()]
    assert {part.dtype for part in ids} == {np.dtype(np.uint8)}
    assert np.concatenate(ids).tolist() == vocabulary.encode(text).tolist()


@pytest.mark.parametrize("known", ["ab", "abж"])
def test_an_unknown_character_in_a_piece_is_named(known):
    encoder = CharacterVocabulary(known).encoder()
    for piece, place in (("ab?", 2), ("a☃?", 1)):
        with pytest.raises(UnknownCharacterError) as caught:
            encoder.put(piece)
        assert caught.value.found[0] == (piece[place], place)


def test_equal_vocabularies_have_equal_digests():
    assert digest(CharacterVocabulary("ab")) == digest(CharacterVocabulary.of_text("ba"))
    assert digest(CharacterVocabulary("ab")) != digest(CharacterVocabulary("ba"))


def test_an_empty_text_has_no_tokens():
    vocabulary = CharacterVocabulary("ab")
    assert vocabulary.encode("").tolist() == []
    assert vocabulary.decode([]) == ""
    assert vocabulary.decoder().put(vocabulary.encode("")) == []


def test_unknown_characters_are_listed_with_their_first_places():
    with pytest.raises(UnknownCharacterError) as caught:
        CharacterVocabulary("ab").encode("a\nb?a👩?")
    assert caught.value.found == [("\n", 1), ("?", 3), ("👩", 5)]
    assert "'\\n' (U+000A) at 1, '?' (U+003F) at 3, '👩' (U+1F469) at 5" in str(caught.value)
    assert isinstance(caught.value, CharloomError)
    assert caught.value.exit_code == 2


def test_many_unknown_characters_are_counted_after_the_tenth():
    unknown = "0123456789xyz"
    with pytest.raises(UnknownCharacterError, match=r"'9' \(U\+0039\) at 10 and 3 more$") as caught:
        CharacterVocabulary("a").encode("a" + unknown)
    assert len(caught.value.found) == len(unknown)
    assert "'x'" not in str(caught.value)


@given(st.sets(st.characters(exclude_categories=["Cs"]), min_size=1), st.text())
def test_skipping_leaves_exactly_the_known_characters(known, text):
    vocabulary = CharacterVocabulary(sorted(known))
    tokens = vocabulary.encode(text, skip_unknown=True)
    assert vocabulary.decode(tokens) == "".join(c for c in text if c in known)


def test_a_lone_surrogate_is_unknown_like_any_other_character():
    vocabulary = CharacterVocabulary("ab")
    with pytest.raises(UnknownCharacterError) as caught:
        vocabulary.encode("a\ud800b")
    assert caught.value.found == [("\ud800", 1)]
    str(caught.value).encode()  # the message can be printed
    assert vocabulary.encode("a\ud800b", skip_unknown=True).tolist() == [0, 1]


def test_no_vocabulary_holds_a_surrogate():
    with pytest.raises(VocabularyError, match="surrogate"):
        CharacterVocabulary.of_text("a\ud800")


@given(texts)
def test_json_and_back(text):
    vocabulary = CharacterVocabulary.of_text(text)
    again = read_vocabulary(json.loads(to_json(vocabulary.to_json())))
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "not a vocabulary"),
        ([], "not a vocabulary"),
        ({}, "not a vocabulary"),
        ({"kind": "character"}, "not a vocabulary"),
        ({"kind": "character", "characters": "abc"}, "not a vocabulary"),
        ({"kind": 3, "characters": ["a"]}, "not a vocabulary"),
        ({"kind": "word", "characters": ["a"]}, "unknown kind of vocabulary 'word'"),
        ({"kind": "character", "characters": []}, "empty"),
        ({"kind": "character", "characters": ["ab"]}, "one character"),
        ({"kind": "character", "characters": [""]}, "one character"),
        ({"kind": "character", "characters": [1]}, "one character"),
        ({"kind": "character", "characters": [["a"]]}, "one character"),
        ({"kind": "character", "characters": ["a", "b", "a"]}, "twice"),
        ({"kind": "character", "characters": ["\udfff"]}, "surrogate"),
    ],
)
def test_malformed_vocabularies_are_refused(data, message):
    with pytest.raises(VocabularyError, match=message):
        read_vocabulary(data)


def test_vocabularies_are_equal_by_their_characters():
    assert CharacterVocabulary("ab") == CharacterVocabulary(["a", "b"])
    assert CharacterVocabulary("ab") != CharacterVocabulary("ba")
    assert CharacterVocabulary("ab") != "ab"
