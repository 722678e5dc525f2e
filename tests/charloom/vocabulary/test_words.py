import time

import pytest

from charloom.tokens_config import TokensConfig
from charloom.vocabulary import Vocabulary, WordVocabulary, vocabulary_builder
from charloom.vocabulary.lower_words import lower_word_builder


def tokens(kind: str, text: str, **options: object) -> list[str]:
    """The tokens of a text."""
    vocabulary = vocabulary_of(kind, text, **options)
    return [vocabulary.token_text(token) for token in vocabulary.encode(text)]


def vocabulary_of(kind: str, text: str, **options: object) -> Vocabulary:
    builder = vocabulary_builder(TokensConfig(kind, **options))  # type: ignore[arg-type]
    builder.put(text)
    return builder.build()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat sat.", ["The", " cat", " sat", "."]),
        ("“Don't!” -- he", ["“", "Don't", "!”", " ", "--", " he"]),
        ("a  b\n\n\tc ", ["a", " ", " b", "\n", "\n", "\t", "c", " "]),
        ("rock'n'roll 'tis x'", ["rock'n'roll", " ", "'", "tis", " x", "'"]),
        ("3.5 snake_case", ["3", ".", "5", " snake_case"]),
        ("हिन्दी में", ["हिन्दी", " में"]),
        ("e\u0301te\u0301 👩‍🚀!", ["e\u0301te\u0301", " ", "👩‍🚀!"]),
        ("म\u200dम म", ["म\u200dम", " म"]),
    ],
)
def test_words_have_the_space_before_them(text, expected):
    assert tokens("words", text) == expected


@pytest.mark.parametrize(
    ("text", "expected", "normal"),
    [
        ("The CAT  sat .", ["the", "cat", "sat", "."], "the cat sat."),
        ("Well-known (at 3.5 p.m.)", ["well-known", "(", "at", "3.5", "p", ".", "m", ".", ")"], None),
        ("wait...  what?!", ["wait", ".", ".", ".", "what", "?", "!"], "wait... what?!"),
        ("it's $5 \n\n #one", ["it's", "$", "5", "\n", "\n", "#", "one"], "it's $5\n\n#one"),
        ("3. 5 : 7", ["3", ".", "5", ":", "7"], "3. 5: 7"),
        ("ΑΣ İ", ["ας", "i̇"], "ας i̇"),
    ],
)
def test_lower_words_have_a_normal_form(text, expected, normal):
    assert tokens("lower-words", text) == expected
    vocabulary = vocabulary_of("lower-words", text)
    form = vocabulary.decode(vocabulary.encode(text))
    assert normal is None or form == normal
    assert vocabulary.decode(vocabulary.encode(form)) == form


def test_a_decoder_of_lower_words_goes_on_with_the_space_before_the_next_word():
    vocabulary = vocabulary_of("lower-words", "a ( b")
    a, opening, b = vocabulary.encode("a ( b").tolist()
    for before, text in ((a, " b"), (opening, "b")):
        assert vocabulary.decoder(vocabulary.encode("a")[:0]).put(vocabulary.encode("b")) == ["b"]
        assert vocabulary.decoder(vocabulary.encode(vocabulary.token_text(before))).put(
            vocabulary.encode("b")
        ) == [text]
    assert b == vocabulary.find("b")


def test_the_most_frequent_words_are_kept_and_ties_are_broken_by_code_points():
    text = "b a c a b d\n"
    assert vocabulary_of("words", text).entries == [" a", "\n", " b", " c", " d", "b"]
    assert vocabulary_of("words", text, vocabulary_size=2).entries == [" a", "\n"]
    assert vocabulary_of("words", text, min_count=2).entries == [" a"]
    vocabulary = vocabulary_of("words", text, vocabulary_size=3)
    assert vocabulary.ids.ordinary == 3
    assert vocabulary.decode(vocabulary.encode(" a x b")) == " a\ufffd b"
    assert vocabulary.decode(vocabulary.encode(" a x b", skip_unknown=True)) == " a b"


def test_words_never_run_together_at_the_end_of_a_record():
    builder = vocabulary_builder(TokensConfig("words"))
    for record in ("one two", "three"):
        builder.put(record)
        builder.finish()
    assert sorted(builder.build().entries) == [" two", "one", "three"]


def test_unknown_words_are_found_with_their_places():
    vocabulary = WordVocabulary(["a", " b"], vocabulary_of("words", "x").ids.special)
    assert vocabulary.unknown_pieces("a  b? b") == [(1, " "), (4, "?")]


@pytest.mark.parametrize("kind", ["words", "lower-words", "smiles", "bpe", "bytes"])
@pytest.mark.parametrize(
    "unit", ["a", " ", ".", "'", "a'", "[", "[Br", "é", "\u0301", "3.", "\u200d", "\n", "a b"]
)
def test_a_hostile_prompt_costs_what_its_length_says(kind, unit):
    vocabulary = vocabulary_of(kind, "a b. [Br] é 'c' 3.5 \u0301\u200d\n")
    text = unit * (100_000 // len(unit))
    begun = time.process_time()
    vocabulary.encode(text)
    assert time.process_time() - begun < 3  # a tenth of it or so; what is quadratic takes minutes


def test_a_word_that_is_too_long_in_lower_case_is_no_token() -> None:
    builder = lower_word_builder(1, None)
    builder.put("İ" * 1000 + "\nhello world\n")
    vocabulary = builder.build()
    assert set(vocabulary.entries) == {"\n", "hello", "world"}
