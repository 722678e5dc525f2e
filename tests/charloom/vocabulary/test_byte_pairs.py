"""A vocabulary whose tokens are no characters keeps every promise of the protocol, and so does a registry."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.bundle import to_json
from charloom.vocabulary import (
    CONTEXT,
    CharacterVocabulary,
    UnknownCharacterError,
    Vocabulary,
    VocabularyError,
    digest,
    id_type,
    read_vocabulary,
)
from tests.charloom.vocabulary.byte_pairs import BYTE_PAIRS, BytePairVocabulary

VOCABULARY = BytePairVocabulary()
TEXTS = st.text() | st.text("thein \né你🚀́", max_size=60)
TOKENS = st.lists(
    st.integers(0, VOCABULARY.size - 1)
    | st.sampled_from(VOCABULARY.encode("é你🚀é").tolist())
    | st.integers(256, VOCABULARY.size - 1),
    max_size=40,
).map(lambda ids: np.array(ids, np.int64))
CUTS = st.lists(st.integers(0, 60), max_size=8)


def parts(whole, cuts):
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [whole[begin:end] for begin, end in itertools.pairwise(bounds)]


@given(TEXTS)
def test_a_text_survives(text):
    tokens = VOCABULARY.encode(text)
    assert VOCABULARY.decode(tokens) == text
    assert tokens.dtype == np.int64


@given(TEXTS, CUTS)
def test_the_ids_of_a_text_do_not_depend_on_how_it_is_cut(text, cuts):
    encoder = VOCABULARY.encoder()
    ids = [*map(encoder.put, parts(text, cuts)), encoder.finish()]
    assert {part.dtype for part in ids} == {id_type(VOCABULARY)}
    assert np.concatenate(ids).tolist() == VOCABULARY.encode(text).tolist()


@given(TOKENS, CUTS)
def test_decoding_in_parts_is_decoding_at_once_and_gives_no_half_character(tokens, cuts):
    decoder, texts = VOCABULARY.decoder(), []
    for part in parts(tokens, cuts):
        texts += decoder.put(part)
        assert "".join(texts) == VOCABULARY.decode(tokens[: len(texts)])
    assert len(texts) == len(tokens)
    whole = b"".join(VOCABULARY.entries[token] for token in tokens).decode("utf-8", "replace")
    assert whole == "".join(texts) + "\ufffd" * decoder.unfinished


@given(TOKENS, st.integers(0, 40))
def test_a_decoder_goes_on_after_the_last_tokens_before_a_place(tokens, place):
    whole = VOCABULARY.decoder().put(tokens)
    decoder = VOCABULARY.decoder(tokens[:place][-CONTEXT:])
    assert decoder.put(tokens[place:]) == whole[place:]


def test_a_token_by_itself_has_a_text_for_people_and_is_found_by_a_whole_one():
    assert [VOCABULARY.token_text(token) for token in VOCABULARY.encode(" the é你")] == [
        " the ",
        "é",
        "\ufffd",
        "\ufffd",
    ]
    assert VOCABULARY.find(" the ") == VOCABULARY.encode(" the ").tolist()[0]
    assert VOCABULARY.find("a") == ord("a")
    assert VOCABULARY.find("é") == 256 + 6
    assert VOCABULARY.find("ab") is VOCABULARY.find("\ufffd") is None


def test_a_lone_surrogate_is_unknown():
    with pytest.raises(UnknownCharacterError):
        VOCABULARY.encode("a\ud800")
    assert VOCABULARY.decode(VOCABULARY.encode("a\ud800b", skip_unknown=True)) == "ab"


@pytest.mark.parametrize("vocabulary", [VOCABULARY, BytePairVocabulary([b"ab"]), CharacterVocabulary("ab")])
def test_a_registry_reads_every_kind_back(vocabulary: Vocabulary):
    again = read_vocabulary(json.loads(to_json(vocabulary.to_json())), BYTE_PAIRS)
    assert again == vocabulary
    assert digest(again) == digest(vocabulary)


def test_charlooms_own_registry_does_not_know_it():
    with pytest.raises(VocabularyError, match="unknown kind of vocabulary 'byte-pairs'"):
        read_vocabulary(VOCABULARY.to_json())


def test_vocabularies_of_two_kinds_differ():
    assert BytePairVocabulary([]) != VOCABULARY
    assert digest(VOCABULARY) != digest(BytePairVocabulary([]))
    assert BytePairVocabulary([]) != CharacterVocabulary(map(chr, range(256)))
