"""Records as a corpus, divided by the hash of their text, so that a file that grows keeps its division."""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charloom.records import Record, RecordChanges, RecordsConfig, read_records
from charloom.records.batches import EvaluationRecords, RecordBatches, RecordIds
from charloom.records.division import part_of
from charloom.text_file import EmptyTextError, UnreadableTextError
from charloom.texts import Texts
from charloom.vocabulary import (
    Ids,
    LabelColumn,
    LabelError,
    SpecialTokens,
    UnknownCharacterError,
    Vocabulary,
    VocabularyBuilder,
    id_type,
)
from training.data.config import BatchConfig, CorpusConfig
from training.data.corpus import PART_NAMES, Corpus, Part, Parts, ShortTextError, control_notes
from training.data.record_reader import RecordReader
from training.hardware import Hardware
from training.ranks import Ranks

MAX_LABELS = 2**16
"""Values that a label may have; a column with more is hardly one of labels."""


@dataclass(frozen=True)
class RecordCorpus(Corpus):
    """Records in three parts, in the order in which they were read."""

    reading: RecordsConfig
    """How the files are read as records."""
    counts: npt.NDArray[np.uint32]
    """Token ids of each record, its labels and its end included: [R]."""
    part_of: npt.NDArray[np.uint8]
    """The number of the part that each record belongs to: [R]."""
    fractions: tuple[float, float]
    """Shares of all texts that belong to the training and to the validation part."""

    @property
    def division(self) -> str:
        """See Corpus."""
        return str(self.reading)

    @property
    def ids_count(self) -> int:
        """See Corpus."""
        return int(self.counts.sum(dtype=np.int64))

    def encoded(self) -> Iterator[Ids]:
        """See Corpus."""
        return encoded(self.texts, self.reading, self.vocabulary, self.digest)

    def part(self, part: Part) -> RecordIds:
        """The records of a part."""
        numbers = np.flatnonzero(self.part_of == PART_NAMES.index(part))
        counts = self.counts.astype(np.int64)
        begins = np.cumsum(counts) - counts
        labels = len(self.vocabulary.ids.special.labels)
        return RecordIds(lambda: self.ids, begins[numbers], counts[numbers], labels, self.vocabulary.start)

    def beginning(self, part: Part, count: int) -> Ids:
        """See Corpus."""
        records = self.part(part)
        fitting = max(1, int(np.searchsorted(np.cumsum(records.counts), count, "right")))
        slices = zip(records.begins[:fitting].tolist(), records.counts[:fitting].tolist(), strict=True)
        return np.concatenate([self.ids[begin : begin + length] for begin, length in slices])

    def batches(self, config: BatchConfig, seed: int, ranks: Ranks, hardware: Hardware) -> RecordReader:
        """See Corpus."""
        ranks.lanes(config.batch)
        records = self.part("train")
        if not len(records):
            raise ShortTextError("no record is left to train on: use more records, or raise --train-fraction")
        batches = RecordBatches(records, config.batch, config.length, seed, ranks.rank, ranks.world)
        return RecordReader(batches, hardware)

    def evaluation(self, part: Part) -> EvaluationRecords:
        """See Corpus."""
        return EvaluationRecords(self.part(part))

    @property
    def records(self) -> Parts:
        """The number of records of each part."""
        training, validation, test = np.bincount(self.part_of, minlength=len(PART_NAMES)).tolist()
        return training, validation, test

    def description(self) -> str:
        """See Corpus."""
        training, validation, test = self.records
        return (
            f"{sum(self.characters):,} characters in {sum(self.records):,} records "
            f"({training:,} training, {validation:,} validation, {test:,} test)"
        )

    def summary(self) -> dict[str, Any]:
        """See Corpus; also how the records are read and divided, and how many they are."""
        return super().summary() | {
            "records": asdict(self.reading),
            "record_counts": dict(zip(PART_NAMES, self.records, strict=True)),
            "fractions": self.fractions,
        }


@dataclass
class RecordCounter:
    """What is known of records after they were read once."""

    config: CorpusConfig
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.lengths = array("I")
        self.part_of = array("B")
        self.labels: list[set[str]] = [set() for _ in self.columns]

    def put(self, record: Record) -> None:
        """Counts a record.

        Raises:
            LabelError: a label has too many values.
        """
        text = record.text.encode()
        self.sha256.update(b"%d " % len(text) + text)
        self.lengths.append(len(record.text))
        config = self.config
        self.part_of.append(part_of(record.text, config.train_fraction, config.validation_fraction))
        for column, values, label in zip(self.columns, self.labels, record.labels, strict=True):
            self.sha256.update(b"\n" + label.encode())
            values.add(label)
            if len(values) > MAX_LABELS:
                raise LabelError(f"{column} has more than {MAX_LABELS:,} values: is it a label?")

    def special_tokens(self) -> SpecialTokens:
        """The special tokens that the records need."""
        pairs = zip(self.columns, self.labels, strict=True)
        labels = tuple(LabelColumn(column, tuple(sorted(values))) for column, values in pairs)
        return SpecialTokens(end=True, labels=labels)


def read_record_corpus(
    texts: Texts,
    config: CorpusConfig,
    reading: RecordsConfig,
    builder: VocabularyBuilder,
    folder: Path | None = None,
) -> RecordCorpus:
    """Reads and divides records; in `folder` their token ids are kept, once they are made.

    Args:
        texts: their files.
        config: how to divide them.
        reading: how the files are read as records.
        builder: makes their vocabulary.
        folder: of the run; without one the ids are kept in memory.

    Raises:
        CharloomError: a file cannot be read, or has no such records.
    """
    changes = RecordChanges()
    counter = RecordCounter(config, reading.label_column)
    for record in read_records(texts, reading, changes):
        builder.put(record.text)
        builder.finish()
        counter.put(record)
    if not counter.lengths:
        raise EmptyTextError(f"{texts.name} has no record with a text")
    vocabulary, digested = builder.build(counter.special_tokens()), counter.sha256.hexdigest()
    lengths, parts = np.array(counter.lengths, np.uint32), np.array(counter.part_of, np.uint8)
    counts = count_ids(texts, reading, vocabulary, lengths, digested)
    answered = counts - len(reading.label_column)
    characters, tokens = (
        np.bincount(parts, of_each, minlength=len(PART_NAMES)).astype(np.int64).tolist()
        for of_each in (lengths, answered)
    )
    return RecordCorpus(
        texts=texts,
        vocabulary=vocabulary,
        characters=tuple(characters),
        parts=tuple(tokens),
        digest=digested,
        notes=(*changes.notes(), *control_notes(vocabulary)),
        folder=folder,
        reading=reading,
        counts=counts,
        part_of=parts,
        fractions=(config.train_fraction, config.validation_fraction),
    )


def count_ids(
    texts: Texts,
    reading: RecordsConfig,
    vocabulary: Vocabulary,
    lengths: npt.NDArray[np.uint32],
    digested: str,
) -> npt.NDArray[np.uint32]:
    """Token ids of each record [R]; where characters have different numbers of them, by encoding it once."""
    if vocabulary.tokens_per_character is not None:
        return lengths * np.uint32(vocabulary.tokens_per_character) + np.uint32(1 + len(reading.label_column))
    return np.array([len(ids) for ids in encoded(texts, reading, vocabulary, digested)], np.uint32)


def encoded(texts: Texts, reading: RecordsConfig, vocabulary: Vocabulary, digested: str) -> Iterator[Ids]:
    """The token ids of each record: its labels, its text and its end.

    Raises:
        UnreadableTextError: the records are not those of this digest.
    """
    changed = UnreadableTextError(f"{texts.name} changed while it was read: start again")
    counter = RecordCounter(CorpusConfig(), reading.label_column)
    encoder, kind = vocabulary.encoder(), id_type(vocabulary)
    end = np.array([vocabulary.end], kind)
    try:
        for record in read_records(texts, reading, RecordChanges()):
            counter.put(record)
            labels = np.array(vocabulary.ids.label_ids(record.labels), kind)
            yield np.concatenate([labels, encoder.put(record.text), encoder.finish(), end])
    except (UnknownCharacterError, LabelError) as error:
        raise changed from error
    if counter.sha256.hexdigest() != digested:
        raise changed
