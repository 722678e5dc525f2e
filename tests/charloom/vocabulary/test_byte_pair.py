import sys

import pytest

from charloom.vocabulary import BytePairBuilder, BytePairVocabulary, MissingTokenizersError, read_vocabulary
from charloom.vocabulary.byte_pair import MAX_BYTES

TEXT = "the then there\nthe the 你好 the\n" * 50


def learnt(*pieces: str, size: int = 300) -> BytePairVocabulary:
    builder = BytePairBuilder(size)
    for piece in pieces:
        builder.put(piece)
    return builder.build()


def test_frequent_strings_become_tokens():
    vocabulary = learnt(TEXT)
    assert vocabulary.ids.ordinary == 256 + len(vocabulary.merges)
    assert vocabulary.find(" the") is not None
    assert [vocabulary.token_text(i) for i in vocabulary.encode("the the\n\n")] == ["the", " the", "\n", "\n"]
    assert all(b"\n" not in string or string == b"\n" for string in vocabulary.strings)


def test_the_same_text_gives_the_same_vocabulary_however_it_is_cut():
    assert learnt(TEXT) == learnt(*TEXT) == learnt(TEXT[:100], TEXT[100:])


def test_a_small_text_gives_a_small_vocabulary_and_none_at_all_the_bytes():
    assert learnt("ab").ids.ordinary <= 257
    assert learnt().ids.ordinary == 256


def test_no_token_is_longer_than_a_stored_one_may_be():
    assert max(map(len, learnt("a" * 500, size=400).strings)) <= MAX_BYTES


def test_records_are_learnt_one_by_one():
    builder = BytePairBuilder(258)
    for _ in range(30):
        builder.put("ab")
        builder.finish()
    assert builder.build().find("ba") is None


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    stored = learnt("abab").to_json()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for use in (lambda: BytePairBuilder(300), lambda: read_vocabulary(stored)):
        with pytest.raises(MissingTokenizersError, match=r"pip install '\.\[bpe\]'"):
            use()
