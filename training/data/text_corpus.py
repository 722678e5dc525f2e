"""A continuous text as a corpus, divided from its beginning: so much to train on, then the rest."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from charloom.evaluation_lanes import EvaluationLanes
from charloom.records import RecordsConfig, check_kinds, records_hint
from charloom.records.hint import SAMPLE
from charloom.text_file import Changes, EmptyTextError, UnreadableTextError
from charloom.texts import Texts
from charloom.vocabulary import (
    Ids,
    UnknownCharacterError,
    Vocabulary,
    VocabularyBuilder,
)
from training.data.batches import Lanes
from training.data.config import BatchConfig, CorpusConfig
from training.data.corpus import PART_NAMES, Corpus, Part, Parts, control_notes
from training.data.reader import Reader
from training.hardware import Hardware
from training.ranks import Ranks


@dataclass(frozen=True)
class TextCorpus(Corpus):
    """One continuous text, divided between characters; each part is encoded by itself."""

    @property
    def division(self) -> str:
        """See Corpus."""
        return str(self.characters)

    @property
    def ids_count(self) -> int:
        """See Corpus."""
        return sum(self.parts)

    def encoded(self) -> Iterator[Ids]:
        """See Corpus."""
        return (ids for _, ids in encoded(self.texts, self.vocabulary, self.characters, self.digest))

    def part(self, part: Part) -> Ids:
        """The token ids of a part."""
        place = PART_NAMES.index(part)
        return self.ids[sum(self.parts[:place]) : sum(self.parts[: place + 1])]

    def beginning(self, part: Part, count: int) -> Ids:
        """See Corpus."""
        return self.part(part)[:count]

    def batches(self, config: BatchConfig, seed: int, ranks: Ranks, hardware: Hardware) -> Reader:
        """See Corpus."""
        vocabulary = self.vocabulary
        ours = ranks.lanes(config.batch)
        lanes = Lanes(self.parts[0], vocabulary.start, vocabulary.find("\n"), config, seed, ours)
        return Reader(lanes, lambda: self.part("train"), hardware)

    def evaluation(self, part: Part) -> EvaluationLanes:
        """See Corpus."""
        return EvaluationLanes(self.part(part), self.vocabulary.start)

    def description(self) -> str:
        """See Corpus."""
        training, validation, test = self.characters
        return (
            f"{sum(self.characters):,} characters ({training:,} training, {validation:,} validation, "
            f"{test:,} test)"
        )


def read_text_corpus(
    texts: Texts,
    config: CorpusConfig,
    builder: VocabularyBuilder,
    folder: Path | None = None,
) -> TextCorpus:
    """Reads and divides a continuous text; in `folder` its token ids are kept, once they are made.

    Args:
        texts: its files.
        config: how to divide it.
        builder: makes the vocabulary of the text.
        folder: of the run; without one the ids are kept in memory.

    Raises:
        CharloomError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    changes = Changes()
    sha256 = hashlib.sha256()
    length, sample = 0, ""
    check_kinds(texts, RecordsConfig())
    for piece in texts.pieces(changes):
        sha256.update(piece.encode())
        builder.put(piece)
        length += len(piece)
        sample += piece[: SAMPLE - len(sample)]
    if not length:
        raise EmptyTextError(f"{texts.name} is empty")
    vocabulary, characters, digested = builder.build(), config.divide(length), sha256.hexdigest()
    return TextCorpus(
        texts=texts,
        vocabulary=vocabulary,
        characters=characters,
        parts=count_tokens(texts, vocabulary, characters, digested),
        digest=digested,
        notes=(*changes.notes(), *control_notes(vocabulary), *filter(None, [records_hint(texts, sample)])),
        folder=folder,
    )


def count_tokens(texts: Texts, vocabulary: Vocabulary, characters: Parts, digested: str) -> Parts:
    """Tokens of each part of a text; where characters have different numbers of them, by encoding it once."""
    if vocabulary.tokens_per_character is not None:
        first, second, third = (count * vocabulary.tokens_per_character for count in characters)
        return first, second, third
    counts = [0, 0, 0]
    for part, ids in encoded(texts, vocabulary, characters, digested):
        counts[part] += len(ids)
    return counts[0], counts[1], counts[2]


def encoded(
    texts: Texts, vocabulary: Vocabulary, characters: Parts, digested: str
) -> Iterator[tuple[int, Ids]]:
    """The token ids of a text piece by piece, each with the number of its part, from 0.

    Raises:
        UnreadableTextError: the text is not the one of this digest and so many characters.
    """
    changed = UnreadableTextError(f"{texts.name} changed while it was read: start again")
    sha256 = hashlib.sha256()
    encoder, part, left = vocabulary.encoder(), 0, characters[0]
    try:
        for piece in texts.pieces(Changes()):
            sha256.update(piece.encode())
            rest = piece
            while len(rest) > left and part < 2:
                yield part, encoder.put(rest[:left])
                yield part, encoder.finish()
                rest = rest[left:]
                encoder, part = vocabulary.encoder(), part + 1
                left = characters[part]
            yield part, encoder.put(rest)
            left -= len(rest)
        yield part, encoder.finish()
    except UnknownCharacterError as error:
        raise changed from error
    if sha256.hexdigest() != digested:
        raise changed
