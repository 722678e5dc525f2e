import numpy as np
import pytest

from charloom.vocabulary import CharacterVocabulary, LabelColumn, SpecialTokens
from training.reporting import frequency, summary
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


def test_of_a_huge_text_the_beginning_is_counted(options, make_trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "LOOKED_AT", 3)
    (tmp_path / "a.txt").write_text("aaab" * 200)
    report = make_trainer(options, tmp_path / "run", path=tmp_path / "a.txt").report
    assert report.summary.frequent == [Frequency("a", 1.0)]


def test_labels_are_no_tokens_of_a_text():
    vocabulary = CharacterVocabulary("ab", SpecialTokens(end=True, labels=(LabelColumn("x", ("p", "q")),)))
    label, end = vocabulary.ids.label_ids(["q"])[0], vocabulary.end
    found = most_frequent(np.array([label, 0, end, label, end]), vocabulary, 9)
    assert [(one.token, one.share) for one in found] == [
        ("<end>", pytest.approx(2 / 3)),
        ("a", pytest.approx(1 / 3)),
    ]


def test_characters_that_show_nothing_are_named():
    assert [Frequency(c, 1).name for c in " \n\tx<"] == ["space", "newline", "tab", "x", "<"]
    assert Frequency(" the\n", 1).name == "␣the\\n"
    assert visible("\u200d") == "U+200D zero width joiner"
    assert visible("\u0301") == "U+0301 combining acute accent"
    assert visible("\x1b") == "U+001B"
    assert visible("色") == "色"
