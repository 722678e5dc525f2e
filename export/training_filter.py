"""The filter of a training text's records, made at export of the files that the model was trained on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from charloom.errors import ConfigError, require
from charloom.manifest import NOVELTY, Novelty
from charloom.novelty import NoveltyFilter
from charloom.records import RecordChanges, RecordsConfig, read_records
from charloom.records.record_hash import HASH_NAME, record_hash
from charloom.texts import Texts
from charloom.vocabulary import Vocabulary
from training.data.config import CorpusConfig
from training.data.record_corpus import RecordCounter

BLOCK = 2**14
"""Records that are added together."""


@dataclass(frozen=True, eq=False)
class TrainingFilter:
    """A novelty filter as a bundle has it."""

    file: bytes
    about: Novelty

    @classmethod
    def of(cls, texts: Texts, summary: Mapping[str, Any], vocabulary: Vocabulary) -> "TrainingFilter":
        """Reads a training text, whichever part of it a record belongs to.

        Args:
            texts: the files that the model was trained on.
            summary: what its checkpoint says of them.
            vocabulary: the model's; a record is hashed as the model would write it.

        Raises:
            ConfigError: they are not what it was trained on, or no records but one continuous text.
            CharloomError: a file cannot be read.
        """
        stated = summary.get("records")
        reason = "is for models of records: a continuous text has none that a new text could be equal to"
        require(stated is not None, "novelty", reason)
        reading = msgspec.convert(stated, RecordsConfig)
        counts = summary["record_counts"].values()
        novelty = NoveltyFilter.sized(sum(counts))
        counter = RecordCounter(CorpusConfig(), reading.label_column)

        def hashes() -> Iterator[bytes]:
            for record in read_records(texts, reading, RecordChanges()):
                counter.put(record)
                yield record_hash(normal_form(record.text, vocabulary))

        all_hashes = hashes()
        while some := list(islice(all_hashes, BLOCK)):
            novelty.add(some)
        if counter.sha256.hexdigest() != summary["sha256"]:
            raise ConfigError("novelty", f"is not the text that the model was trained on: {texts.name}")
        about = Novelty(NOVELTY, HASH_NAME, len(counter.lengths), novelty.probes, novelty.false_positive_rate)
        return cls(novelty.bits.tobytes(), about)

    def __str__(self) -> str:
        return (
            f"{self.about.records:,} records in {len(self.file):,} bytes; "
            f"{self.about.false_positive_rate:.1e} of new records are taken for copies"
        )


def normal_form(text: str, vocabulary: Vocabulary) -> str:
    """Returns a text as a model would write it; one that no model of this vocabulary can write, as it is."""
    ids = vocabulary.encode(text)
    return text if vocabulary.unknown in ids else vocabulary.decode(ids)
