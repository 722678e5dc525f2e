"""What every kind of vocabulary promises, whatever its tokens are."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.bundle import to_json
from charloom.vocabulary import (
    CONTEXT,
    LabelColumn,
    SpecialTokens,
    UnknownCharacterError,
    VocabularyError,
    digest,
    id_type,
    read_vocabulary,
    vocabulary_builder,
)
from charloom.vocabulary.cuts import BLOCK, MAX_TOKEN
from tests.charloom.vocabulary.kinds import CONFIGS, KEEPING, TEXT, VOCABULARIES, made

PIECES = st.lists(
    st.sampled_from(
        ["The", " the", " ", "\n", "é", "didn't", "3.5", "[C@@H]", "[", "Br", "👩‍🚀", "ab", "x", "-"]
    )
    | st.sampled_from(sorted(set(TEXT)))
    | st.text(max_size=3),
    max_size=12,
).map("".join)
TEXTS = st.text(max_size=30) | PIECES
CUTS = st.lists(st.integers(0, 60), max_size=8)
SPECIAL = SpecialTokens(end=True, labels=(LabelColumn("genre", ("a", "b")),))


@pytest.fixture(params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def parts(whole, cuts):
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [whole[begin:end] for begin, end in itertools.pairwise(bounds)]


@pytest.mark.parametrize("name", KEEPING)
@given(text=TEXTS)
def test_a_text_of_known_tokens_survives(name, text):
    for vocabulary in (VOCABULARIES[name], made(name, text or "x")):
        if not vocabulary.unknown_pieces(text):
            assert vocabulary.decode(vocabulary.encode(text)) == text
    assert not text or not made(name, text).unknown_pieces(text)


@given(text=TEXTS)
def test_lower_words_have_a_normal_form_that_is_its_own(text):
    vocabulary = made("lower-words", f"{text}x")
    normal = vocabulary.decode(vocabulary.encode(text))
    assert vocabulary.decode(vocabulary.encode(normal)) == normal
    assert vocabulary.encode(normal).tolist() == vocabulary.encode(text).tolist()
    small = VOCABULARIES["lower-words"]  # where words are unknown
    normal = small.decode(small.encode(text))
    assert small.decode(small.encode(normal)) == normal


@pytest.mark.parametrize("name", CONFIGS)
@given(text=TEXTS, cuts=CUTS, times=st.sampled_from([1, 1, 1, 300]))
def test_the_ids_of_a_text_do_not_depend_on_how_it_is_cut(name, text, cuts, times):
    vocabulary = VOCABULARIES[name]
    text = "".join(c for c in text if c in TEXT or vocabulary.unknown is not None) * times
    encoder = vocabulary.encoder()
    for _ in range(2):  # an encoder that is finished encodes another text
        ids = [*map(encoder.put, parts(text, [cut * times for cut in cuts])), encoder.finish()]
        assert {part.dtype for part in ids} == {id_type(vocabulary)}
        assert np.concatenate(ids).tolist() == vocabulary.encode(text).tolist()


@pytest.mark.parametrize("name", CONFIGS)
@given(text=TEXTS, cuts=CUTS)
def test_a_text_in_pieces_has_the_vocabulary_of_the_whole(name, text, cuts):
    if name == "bpe" and len(text) % 5:  # it is slower
        return
    builder = vocabulary_builder(CONFIGS[name])
    for part in parts(f"x{text}", cuts):
        builder.put(part)
    assert builder.build() == made(name, f"x{text}")


@pytest.mark.parametrize("name", CONFIGS)
@given(text=TEXTS)
def test_lines_are_encoded_by_themselves(name, text):
    vocabulary = VOCABULARIES[name]
    text = "".join(c for c in text if c in TEXT or vocabulary.unknown is not None)
    lines = [vocabulary.encode(line).tolist() for line in text.splitlines(keepends=True)]
    if set(text).isdisjoint("\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r"):
        assert list(itertools.chain(*lines)) == vocabulary.encode(text).tolist()
    newline = vocabulary.find("\n")
    assert (vocabulary.encode(text) == newline).sum() == text.count("\n")


@pytest.mark.parametrize("name", CONFIGS)
@given(data=st.data(), cuts=CUTS, place=st.integers(0, 40))
def test_decoding_in_parts_is_decoding_at_once_and_cuts_no_character(name, data, cuts, place):
    vocabulary = VOCABULARIES[name]
    tokens = np.array(data.draw(st.lists(st.integers(0, vocabulary.size - 1), max_size=40)), np.int64)
    decoder, texts = vocabulary.decoder(), []
    for part in parts(tokens, cuts):
        texts += decoder.put(part)
        assert "".join(texts) == vocabulary.decode(tokens[: len(texts)])
    assert len(texts) == len(tokens)
    again = vocabulary.decoder(tokens[:place][-CONTEXT:])
    assert again.put(tokens[place:]) == texts[place:]


@pytest.mark.parametrize("name", CONFIGS)
@given(text=TEXTS)
def test_what_is_unknown_is_named_and_can_be_left_out(name, text):
    vocabulary = VOCABULARIES[name]
    unknown = vocabulary.unknown_pieces(text)
    assert all(text[place:].startswith(piece) for place, piece in unknown)
    assert unknown == sorted(unknown)
    known = vocabulary.encode(text, skip_unknown=True)
    assert vocabulary.unknown is None or vocabulary.unknown not in known
    if name != "lower-words":
        places = {place + i for place, piece in unknown for i in range(len(piece))}
        assert vocabulary.decode(known) == "".join(c for i, c in enumerate(text) if i not in places)
    if vocabulary.unknown is not None:
        assert (vocabulary.encode(text) == vocabulary.unknown).sum() == len(unknown)
    elif unknown:
        with pytest.raises(UnknownCharacterError) as caught:
            vocabulary.encode(text)
        assert caught.value.found[0][1] == unknown[0][0]


def test_json_and_back(name):
    for special in (SpecialTokens(), SPECIAL):
        vocabulary = made(name, special=special)
        again = read_vocabulary(json.loads(to_json(vocabulary.to_json())))
        assert again == vocabulary
        assert digest(again) == digest(vocabulary)
        assert hash(again) == hash(vocabulary)
        assert again != made("bytes" if name != "bytes" else "words", special=special)
        assert again.encode(TEXT).tolist() == vocabulary.encode(TEXT).tolist()
        assert [*again.entries] == [*vocabulary.entries]
        assert len({*again.entries}) == vocabulary.ids.ordinary


def test_records_have_their_special_tokens(name):
    vocabulary = made(name, special=SPECIAL)
    end = vocabulary.end
    assert end == vocabulary.ids.ordinary
    assert vocabulary.ids.label_ids(["b"]) == [vocabulary.start + 2] == [vocabulary.inputs - 1]
    assert vocabulary.token_text(end) == "<end>"
    both = np.concatenate([vocabulary.encode("the cat"), [end], vocabulary.encode("the cat")])
    texts = vocabulary.decoder().put(both)
    assert "".join(texts) == vocabulary.decode(both) == vocabulary.decode(vocabulary.encode("the cat")) * 2
    half = len(both) // 2
    assert not texts[half]
    assert texts[:half] == texts[half + 1 :]


def test_a_token_is_found_by_its_text(name):
    vocabulary = VOCABULARIES[name]
    for token in vocabulary.encode("the cat sat").tolist():
        if token != vocabulary.unknown:
            assert vocabulary.find(vocabulary.token_text(token)) == token
    assert vocabulary.find("what no token is") is None


@pytest.mark.parametrize("cut", ["\n", " ", ""])
def test_a_long_text_is_encoded_block_by_block(name, cut):
    vocabulary = VOCABULARIES[name]
    text = f"the{cut}" * (2 * BLOCK)
    encoder = vocabulary.encoder()
    assert len(encoder.put(text))
    assert len(encoder.finish()) <= MAX_TOKEN
    if name != "lower-words":
        assert len(vocabulary.decode(vocabulary.encode(text)).replace("\ufffd", "x" * MAX_TOKEN)) >= len(text)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "words", "tokens": ["a"]},
        {"kind": "words", "tokens": [], "unknown": True},
        {"kind": "words", "tokens": ["a", "a"], "unknown": True},
        {"kind": "words", "tokens": ["a b"], "unknown": True},
        {"kind": "words", "tokens": ["a\n"], "unknown": True},
        {"kind": "words", "tokens": [["a"]], "unknown": True},
        {"kind": "words", "tokens": ["\ud800"], "unknown": True},
        {"kind": "words", "tokens": ["a" * (MAX_TOKEN + 1)], "unknown": True},
        {"kind": "words", "tokens": "a", "unknown": True},
        {"kind": "words", "tokens": ["a"], "unknown": True, "more": 1},
        {"kind": "lower-words", "tokens": ["a"]},
        {"kind": "lower-words", "tokens": [" "], "unknown": True},
        {"kind": "lower-words", "tokens": ["A"], "unknown": True},
        {"kind": "regex", "tokens": ["a"]},
        {"kind": "regex", "tokens": ["a"], "pattern": "("},
        {"kind": "regex", "tokens": ["a"], "pattern": "(?=a)"},
        {"kind": "regex", "tokens": ["a"], "pattern": r"\C"},
        {"kind": "regex", "tokens": ["a"], "pattern": r"\\\C"},
        {"kind": "regex", "tokens": ["a"], "pattern": "a" * 5000},
        {"kind": "regex", "tokens": ["a"], "pattern": "\ud800"},
        {"kind": "regex", "tokens": ["ab"], "pattern": "a"},
        {"kind": "regex", "tokens": [{}], "pattern": "a"},
        {"kind": "bytes", "unknown": True},
        {"kind": "bytes", "tokens": []},
        {"kind": "bpe"},
        {"kind": "bpe", "merges": [[1, 2, 3]]},
        {"kind": "bpe", "merges": [[1, 256]]},
        {"kind": "bpe", "merges": [[-1, 2]]},
        {"kind": "bpe", "merges": [[True, 2]]},
        {"kind": "bpe", "merges": [[0, 0], *([i, i] for i in range(256, 262))]},
        {"kind": "bpe", "merges": [], "unknown": True},
    ],
)
def test_malformed_vocabularies_are_refused(data):
    with pytest.raises(VocabularyError):
        read_vocabulary(data)
