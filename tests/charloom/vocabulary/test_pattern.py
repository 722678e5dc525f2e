import pytest

from charloom.errors import ConfigError
from charloom.tokens_config import TokensConfig
from charloom.vocabulary import SMILES, Vocabulary, VocabularyError, read_vocabulary, vocabulary_builder
from charloom.vocabulary.pattern import PatternVocabulary, compiled, pattern_builder, split_matches


def vocabulary_of(text: str, **options: object) -> Vocabulary:
    builder = vocabulary_builder(TokensConfig(**options))  # type: ignore[arg-type]
    builder.put(text)
    return builder.build()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CC(=O)Nc1", [*"CC(=O)Nc1"]),
        ("C[C@@H](Br)Cl", ["C", "[C@@H]", "(", "Br", ")", "Cl"]),
        ("C%12C%1", ["C", "%12", "C", "%", "1"]),
        ("[nH]1[13C]", ["[nH]", "1", "[13C]"]),
        ("[C\nBr", ["[", "C", "\n", "Br"]),
        ("[Br", ["[", "Br"]),
    ],
)
def test_smiles_split_as_reinvent_splits_them(text, expected):
    vocabulary = vocabulary_of(text, tokens="smiles")
    assert [vocabulary.token_text(token) for token in vocabulary.encode(text)] == expected


def test_an_atom_that_the_vocabulary_lacks_goes_by_its_characters():
    vocabulary = vocabulary_of("C[C@H]1[nH]3", tokens="smiles")
    assert [vocabulary.token_text(i) for i in vocabulary.encode("[C@H][CH3]")] == ["[C@H]", *"[CH3]"]
    assert vocabulary.unknown_pieces("[C@H][CF3]") == [(7, "F")]


def test_characters_come_first_and_then_the_most_frequent_matches():
    text = "abab ab cd cd c"
    options = {"tokens": "regex", "token_pattern": "[a-z]+"}
    assert vocabulary_of(text, **options).entries == [" ", "a", "b", "c", "d", "cd", "ab", "abab"]
    bounded = vocabulary_of(text, vocabulary_size=6, **options)
    assert (bounded.entries, bounded.unknown) == ([" ", "a", "b", "c", "d", "cd"], None)
    smaller = vocabulary_of(text, vocabulary_size=4, **options)
    assert (smaller.entries, smaller.unknown) == ([" ", "a", "b", "c"], 4)
    rare = vocabulary_of(text, min_count=3, **options)
    assert rare.entries == [" ", "a", "b", "c"]
    assert rare.decode(rare.encode("abcd")) == "abc\ufffd"


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("(a)(b)|c", "abcab", ["ab", "c", "ab"]),
        ("a*", "baab", ["b", "aa", "b"]),
        (r"\b", "ab", ["a", "b"]),
        ("^.|.$", "abc\nde", ["a", "b", "c", "\n", "d", "e"]),
        ("[^a]+", "bc\nbb", ["bc", "\n", "bb"]),
        (r"\pL+", "né é", ["né", " ", "é"]),
        ("b", "a\ud800b", ["a", "\ud800", "b"]),
        ("(?i)AB", "xaBx", ["x", "aB", "x"]),
    ],
)
def test_what_is_not_matched_goes_character_by_character(pattern, text, expected):
    assert split_matches(text, compiled(pattern)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": "regex"}, "token_pattern is missing"),
        ({"tokens": "regex", "token_pattern": "("}, r"token_pattern cannot be used: .*missing \)"),
        ({"tokens": "regex", "token_pattern": "(?<=a)"}, "token_pattern cannot be used"),
        ({"tokens": "words", "token_pattern": "a"}, "token_pattern is for tokens regex"),
        ({"tokens": "chars"}, "tokens must be one of characters, words"),
        ({"vocabulary_size": 5}, "vocabulary_size cannot bound tokens characters"),
        ({"tokens": "bytes", "vocabulary_size": 5}, "vocabulary_size cannot bound"),
        ({"tokens": "bpe", "vocabulary_size": 256}, "at least 257"),
        ({"tokens": "words", "vocabulary_size": 0}, "at least 1"),
        ({"tokens": "bpe", "min_count": 2}, "min_count must be 1"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TokensConfig(**options)


def test_the_preset_is_an_expression_like_any_other():
    assert vocabulary_of("CBr", tokens="smiles") == vocabulary_of("CBr", tokens="regex", token_pattern=SMILES)


@pytest.mark.parametrize(
    ("pattern", "text", "token"),
    [(r"\Bing\b", "singing and ringing\n" * 3, "ing"), ("^a|ab", "ab xab\nab\n", "ab")],
)
def test_a_match_may_depend_on_what_is_around_it(pattern: str, text: str, token: str) -> None:
    builder = pattern_builder(pattern, 1, None)
    builder.put(text)
    vocabulary = builder.build()
    assert vocabulary.find(token) is not None
    assert read_vocabulary(vocabulary.to_json()) == vocabulary
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_matches_of_another_pattern_are_not_joined() -> None:
    mine, theirs = PatternVocabulary("ab", "ab?"), PatternVocabulary("ab", "a+")
    with pytest.raises(VocabularyError, match=r"matches of 'ab\?', those of the text of 'a\+'"):
        mine.extended(theirs)
