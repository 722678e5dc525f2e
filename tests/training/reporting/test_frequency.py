import numpy as np
import pytest

from charloom.vocabulary import CharacterVocabulary
from training.reporting import frequency
from training.reporting.frequency import Frequency, most_frequent, visible


def test_the_most_frequent_come_first_with_their_shares(monkeypatch):
    monkeypatch.setattr(frequency, "PIECE", 3)
    vocabulary = CharacterVocabulary("abcd")
    text = vocabulary.encode("abbcccc").astype(np.uint8)
    found = most_frequent(text, vocabulary, 9)
    assert [(one.token, one.share) for one in found] == [
        ("c", pytest.approx(4 / 7)),
        ("b", pytest.approx(2 / 7)),
        ("a", pytest.approx(1 / 7)),
    ]
    assert most_frequent(text, vocabulary, 1) == found[:1]


def test_of_a_huge_text_the_beginning_is_counted(monkeypatch):
    monkeypatch.setattr(frequency, "LOOKED_AT", 2)
    vocabulary = CharacterVocabulary("ab")
    assert most_frequent(vocabulary.encode("aabbbb"), vocabulary, 9) == [Frequency("a", 1.0)]


def test_characters_that_show_nothing_are_named():
    assert [Frequency(c, 1).name for c in " \n\tx<"] == ["space", "newline", "tab", "x", "<"]
    assert Frequency(" the\n", 1).name == "␣the\\n"
    assert visible("\u200d") == "U+200D zero width joiner"
    assert visible("\u0301") == "U+0301 combining acute accent"
    assert visible("\x1b") == "U+001B"
    assert visible("色") == "色"
