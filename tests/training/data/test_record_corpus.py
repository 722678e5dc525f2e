"""Records as a corpus: their ids, their parts, and what is kept of them."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from charloom.errors import ConfigError
from charloom.records import RecordsConfig
from charloom.records.batches import RecordIds
from charloom.text_file import EmptyTextError, UnreadableTextError
from charloom.texts import Texts
from charloom.vocabulary import CharacterBuilder, LabelColumn, LabelError
from tests.charloom.vocabulary.byte_pairs import BytePairBuilder
from training.data import record_corpus
from training.data.config import BatchConfig, CorpusConfig
from training.data.corpus import PART_NAMES, ShortTextError
from training.data.read_corpus import read_corpus
from training.data.record_corpus import RecordCorpus
from training.hardware import Hardware
from training.ranks import ALONE, Ranks

LINES = RecordsConfig("lines")
TABLE = RecordsConfig(text_column="text", label_column=("mood", "kind"))
CPU = Hardware(torch.device("cpu"), bfloat16=False, threads=1)


def corpus_of(file: Path, *arguments, reading: RecordsConfig = LINES, **options) -> RecordCorpus:
    read = read_corpus(file, *(arguments or (CorpusConfig(),)), reading=reading, **options)
    assert isinstance(read, RecordCorpus)
    return read


def each(records: RecordIds) -> list[list[int]]:
    """The ids of each record."""
    return [
        records.ids[begin : begin + count].tolist()
        for begin, count in zip(records.begins, records.counts, strict=True)
    ]


def texts_of(corpus: RecordCorpus, part: str) -> list[str]:
    """The texts of the records of a part, in their order; each ends with the end token."""
    records = each(corpus.part(part))
    assert {ids[-1] for ids in records} <= {corpus.vocabulary.end}
    labels = len(corpus.reading.label_column)
    return [corpus.vocabulary.decode(np.array(ids[labels:])) for ids in records]


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of lines, the same one anew."""

    def write(*texts: str) -> Path:
        (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in texts))
        return tmp_path / "a.txt"

    return write


def test_every_record_is_in_one_part_with_its_end_and_in_order(lines):
    written = [f"{i} é" for i in range(300)]
    corpus = corpus_of(lines(*written, ""), CorpusConfig(0.6, 0.2))
    found = [texts_of(corpus, part) for part in PART_NAMES]
    assert sorted(chain(*found)) == sorted(written), "but the empty one"
    for part, texts in zip(PART_NAMES, found, strict=True):
        assert texts == [text for text in written if text in texts]
        place = PART_NAMES.index(part)
        assert corpus.characters[place] == sum(map(len, texts))
        assert corpus.parts[place] == corpus.characters[place] + len(texts), "ends are answered too"
        assert corpus.records[place] == len(texts)
        assert corpus.evaluation(part).answers == corpus.parts[place]
    assert [len(texts) for texts in found] == pytest.approx([180, 60, 60], abs=25)
    assert corpus.notes == ("skipped 1 empty record",)


def test_a_file_that_grows_keeps_its_division(lines):
    written = [f"line {i}" for i in range(200)]
    before = corpus_of(lines(*written), CorpusConfig(0.6, 0.2))
    parts_before = [set(texts_of(before, part)) for part in PART_NAMES]
    after = corpus_of(
        lines("first", *written[::-1], *(f"new {i}" for i in range(200))), CorpusConfig(0.6, 0.2)
    )
    assert all(parts_before)
    assert parts_before == [set(texts_of(after, part)) & set(written) for part in PART_NAMES]
    assert before.digest != after.digest


def test_equal_texts_are_in_one_part_whatever_their_labels(tmp_path):
    rows = [f"text {i},{mood},a" for i in range(60) for mood in "pq"]
    (tmp_path / "a.csv").write_text("\n".join(["text,mood,kind", *rows]))
    corpus = corpus_of(tmp_path / "a.csv", CorpusConfig(0.5, 0.25), reading=TABLE)
    parts = [texts_of(corpus, part) for part in PART_NAMES]
    assert all(parts)
    assert sum(len(set(texts)) for texts in parts) == 60
    assert all(len(texts) == 2 * len(set(texts)) for texts in parts)


def test_labels_come_before_a_text_and_are_no_part_of_it(tmp_path):
    (tmp_path / "a.csv").write_text('text,kind,mood\nab,x,glad\n"c\nd",x,\nba,y,sad\n')
    corpus = corpus_of(tmp_path / "a.csv", CorpusConfig(0.99, 0.005), reading=TABLE)
    vocabulary = corpus.vocabulary
    assert vocabulary.ids.special.labels == (
        LabelColumn("mood", ("", "glad", "sad")),
        LabelColumn("kind", ("x", "y")),
    )
    begin, end = vocabulary.start + 1, vocabulary.end
    encoded = [vocabulary.encode(text).tolist() for text in ("ab", "c\nd", "ba")]
    assert each(corpus.part("train")) == [
        [begin + 1, begin + 3, *encoded[0], end],
        [begin, begin + 3, *encoded[1], end],
        [begin + 2, begin + 4, *encoded[2], end],
    ]
    assert corpus.ids.max() < vocabulary.inputs
    assert (corpus.characters, corpus.parts) == ((7, 0, 0), (10, 0, 0)), "labels are not answered"
    assert corpus.beginning("train", 5).tolist() == each(corpus.part("train"))[0]
    assert corpus.beginning("train", 11).tolist() == [*chain(*each(corpus.part("train"))[:2])]
    assert corpus.beginning("train", 1).tolist() == each(corpus.part("train"))[0], "one at the least"


@pytest.mark.parametrize("column", ["mood", "kind"])
def test_a_column_of_too_many_values_is_no_label(column, tmp_path, monkeypatch):
    monkeypatch.setattr(record_corpus, "MAX_LABELS", 3)
    file = tmp_path / "a.csv"
    file.write_text(f"text,{column},{'kind' if column == 'mood' else 'mood'}\na,0,0\na,1,0\na,2,0\n")
    corpus_of(file, reading=TABLE)
    file.write_text(file.read_text() + "a,3,0\n")
    with pytest.raises(LabelError, match=f"{column} has more than 3 values: is it a label"):
        corpus_of(file, reading=TABLE)


def test_rare_characters_are_the_unknown_token(lines):
    corpus = corpus_of(lines("abab", "abxa", "yabb"), CorpusConfig(0.98, 0.01), builder=CharacterBuilder(2))
    vocabulary = corpus.vocabulary
    assert [vocabulary.token_text(token) for token in range(vocabulary.size)] == [
        "a",
        "b",
        "<end>",
        "<unknown>",
    ]
    unknown, end = vocabulary.unknown, vocabulary.end
    assert each(corpus.part("train")) == [[0, 1, 0, 1, end], [0, 1, unknown, 0, end], [unknown, 0, 1, 1, end]]
    assert corpus_of(lines("ab"), CorpusConfig()).vocabulary.unknown is None


def test_tokens_that_are_no_characters_are_counted_for_each_record(lines):
    written = ["the the 你", "é", "in the end", "th"] * 9
    corpus = corpus_of(lines(*written), CorpusConfig(0.5, 0.3), builder=BytePairBuilder())
    for part, characters, tokens in zip(PART_NAMES, corpus.characters, corpus.parts, strict=True):
        texts = texts_of(corpus, part)
        assert [len(ids) - 1 for ids in each(corpus.part(part))] == [
            len(corpus.vocabulary.encode(text)) for text in texts
        ]
        assert (characters, tokens) == (sum(map(len, texts)), corpus.part(part).counts.sum())


@pytest.fixture
def kept(lines, tmp_path) -> Callable[..., RecordCorpus]:
    """A corpus whose ids are kept in a file, read anew."""
    file = lines("ab", "cab", "bc")

    def read(reading: RecordsConfig = LINES, **options) -> RecordCorpus:
        return corpus_of(file, CorpusConfig(), tmp_path, reading=reading, **options)

    return read


def test_ids_are_kept_in_a_file_and_not_made_again(kept, tmp_path):
    first = kept()
    first.encode()
    expected = first.ids.tolist()
    assert expected == [0, 1, 3, 2, 0, 1, 3, 1, 2, 3]
    again = kept()
    (tmp_path / "a.txt").unlink()
    assert again.ids.tolist() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_ids_of_other_records_another_reading_or_a_damaged_file_are_made_again(kept, lines, tmp_path):
    expected = kept().ids.tolist()
    (tmp_path / "tokens").write_bytes(b"?" + (tmp_path / "tokens").read_bytes()[1:])
    assert kept().ids.tolist() == expected
    whole = kept(RecordsConfig("paragraphs"))
    assert whole.vocabulary.decode(whole.ids) == "ab\ncab\nbc"
    lines("ab", "cabb", "c")  # as long, of the same characters
    assert kept().ids.tolist() == [0, 1, 3, 2, 0, 1, 1, 3, 2, 3]


@pytest.mark.parametrize(
    "texts", [("ab", "cab", "bc", "a"), ("ab", "ca", "bbc"), ("ab", "cab", "b?"), ("ab",)]
)
def test_records_that_change_between_their_readings_are_refused(texts, kept, lines, tmp_path):
    read = kept()
    lines(*texts)
    with pytest.raises(UnreadableTextError, match="changed while it was read"):
        read.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_labels_that_change_between_their_readings_are_refused(tmp_path):
    file = tmp_path / "a.csv"
    for changed in (
        "text,mood,kind\na,p,x\n",
        "text,mood,kind\na,q,x\na,p,x\n",
        "text,mood,kind\na,r,x\na,q,x\n",
    ):
        file.write_text("text,mood,kind\na,p,x\na,q,x\n")
        read = corpus_of(file, reading=TABLE)
        file.write_text(changed)
        with pytest.raises(UnreadableTextError, match="changed while it was read"):
            read.encode()


def test_the_summary_says_how_to_read_and_divide_them_again(lines):
    corpus = corpus_of(lines(*(f"line {i}" for i in range(100))), CorpusConfig(0.7, 0.2))
    summary = corpus.summary()
    assert summary["records"] == {"records": "lines", "text_column": "", "label_column": ()}
    assert summary["fractions"] == (0.7, 0.2)
    assert tuple(summary["record_counts"].values()) == corpus.records
    assert (summary["sha256"], summary["characters"]) == (corpus.digest, sum(corpus.characters))
    training, validation, test = corpus.records
    assert corpus.description() == (
        f"690 characters in 100 records ({training} training, {validation} validation, {test} test)"
    )


def test_nothing_to_train_on_is_said(lines, tmp_path):
    with pytest.raises(EmptyTextError, match=r"a\.txt"):
        corpus_of(lines("", ""))
    alone = corpus_of(lines("only one"), CorpusConfig(1e-9, 0.5))
    with pytest.raises(ShortTextError, match="no record is left to train on"):
        alone.batches(BatchConfig(4, 8), 1, ALONE, CPU)
    with pytest.raises(ConfigError, match="batch is 4, and has to be a multiple of 3"):
        corpus_of(lines("a", "b")).batches(BatchConfig(4, 8), 1, Ranks(0, 3), CPU)


def test_several_files_are_records_one_after_the_other(tmp_path):
    for name, text in (("a.txt", "one\ntwo"), ("b.txt", "three")):
        (tmp_path / name).write_text(text)
    files = Texts((tmp_path / "b.txt", tmp_path / "a.txt"))
    corpus = corpus_of(files, CorpusConfig(0.98, 0.01))
    assert texts_of(corpus, "train") == ["three", "one", "two"]
