"""The text with which graphs are verified: what a checkpoint keeps of its validation part."""

from dataclasses import dataclass

import numpy as np

from charloom.chunk import TokenChunk
from charloom.records.batches import EvaluationRecords, RecordIds
from charloom.vocabulary import Tokens, Vocabulary

LANES = 64
"""B: pieces of a continuous text that are scored side by side, each from a fresh state."""
LONGEST = 256
"""T: tokens of a lane at most."""
SHORTEST = 50
"""T: tokens of a lane at least."""
PLACES = 2048
"""Places S x B of a chunk of records, at the most."""


@dataclass(frozen=True)
class HeldOutText:
    """Text that a model was not trained on."""

    tokens: Tokens
    """Token ids [T] that the model may choose."""
    chunks: list[TokenChunk]
    """What is scored of it, each from a fresh state."""
    tokens_per_character: float

    @classmethod
    def of(cls, tokens: Tokens, vocabulary: Vocabulary) -> "HeldOutText":
        """Takes what a checkpoint keeps [T]; every token once if that is nothing."""
        chosen = tokens[tokens < vocabulary.size]
        if not len(chosen):
            tokens = chosen = np.arange(vocabulary.size)
        records = split(tokens, vocabulary)
        chunks = [in_lanes(chosen, vocabulary.start)] if records is None else beginnings(records)
        return cls(chosen, chunks, len(chosen) / max(1, len(vocabulary.decode(chosen))))


def in_lanes(text: Tokens, start: int) -> TokenChunk:
    """A continuous text [T] in pieces side by side; a short one is repeated."""
    length = int(np.clip(len(text) // LANES, SHORTEST, LONGEST))
    targets = np.resize(text, (LANES, length)).T.copy()  # [T, B]
    inputs = np.concatenate([np.full((1, LANES), start), targets[:-1]])
    return TokenChunk(inputs, targets, 0, targets.size)


def split(tokens: Tokens, vocabulary: Vocabulary) -> RecordIds | None:
    """The records that token ids [T] hold; None if they hold none, but a continuous text."""
    ends = np.flatnonzero(tokens == vocabulary.end) + 1 if vocabulary.end is not None else np.empty(0, int)
    if not len(ends):
        return None
    begins = np.concatenate([[0], ends[:-1]])
    labels = len(vocabulary.ids.special.labels)
    return RecordIds(lambda: tokens, begins, ends - begins, labels, vocabulary.start)


def beginnings(records: RecordIds) -> list[TokenChunk]:
    """Chunks in which records begin, of as many tokens as are scored of a continuous text."""
    chunks: list[TokenChunk] = []
    for chunk in EvaluationRecords(records).chunks(PLACES):
        if not chunk.carried:
            chunks.append(chunk)
        if sum(chunk.inputs.size for chunk in chunks) >= LANES * LONGEST:
            break
    return chunks
