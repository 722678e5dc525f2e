"""Reads what a run is trained on: one continuous text, or records."""

from pathlib import Path

from charloom.records import RecordsConfig
from charloom.text_file import refuse_pipe
from charloom.texts import Texts
from charloom.vocabulary import CharacterBuilder, VocabularyBuilder
from training.data.config import CorpusConfig
from training.data.corpus import Corpus
from training.data.record_corpus import read_record_corpus
from training.data.text_corpus import read_text_corpus


def read_corpus(
    text: Path | Texts,
    config: CorpusConfig,
    folder: Path | None = None,
    builder: VocabularyBuilder | None = None,
    reading: RecordsConfig = RecordsConfig(),
) -> Corpus:
    """Reads and divides a text; in `folder` its token ids are kept, once they are made.

    Args:
        text: its file or files.
        config: how to divide it.
        folder: of the run; without one the ids are kept in memory.
        builder: makes the vocabulary; by default one of characters.
        reading: how it is read as records, if it is.

    Raises:
        CharloomError: a file cannot be read, is empty, or is not UTF-8 text.
    """
    texts = text if isinstance(text, Texts) else Texts((text,))
    for file in texts.files:
        refuse_pipe(file)
    building = builder or CharacterBuilder()
    if reading.divides:
        return read_record_corpus(texts, config, reading, building, folder)
    return read_text_corpus(texts, config, building, folder)
