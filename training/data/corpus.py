"""A corpus: what a run is trained on, its vocabulary, and its division into three parts of token ids.

It passes through piece by piece, whatever its length: once to be checked and to make the vocabulary, once to
be encoded. A continuous text is a `TextCorpus`, records are a `RecordCorpus`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from charloom.chunk import EvaluationBatches
from charloom.errors import CharloomError
from charloom.printable import printable
from charloom.score import bits_per_character
from charloom.texts import Texts
from charloom.vocabulary import Ids, Vocabulary, digest, id_type
from training.data.config import BatchConfig
from training.data.token_file import TokenFile

if TYPE_CHECKING:
    from training.data.chunk import Batches
    from training.hardware import Hardware
    from training.ranks import Ranks

TOKENS = "tokens"
"""Name of the token ids in the folder of a run."""

Parts = tuple[int, int, int]
"""Sizes of the parts to train on, to validate on, and to test on."""
Part = Literal["train", "validation", "test"]
PART_NAMES: tuple[Part, ...] = get_args(Part)


class ShortTextError(CharloomError):
    """The text is too short for what is asked."""

    exit_code = 7


@dataclass(frozen=True)
class Corpus(ABC):
    """What a run is trained on, in three parts, and what is known of it before it is encoded."""

    texts: Texts
    vocabulary: Vocabulary
    characters: Parts
    """Characters of each part."""
    parts: Parts
    """Tokens of each part that are answered."""
    digest: str
    """SHA-256 of the text as it is trained on."""
    notes: tuple[str, ...]
    """What reading the files changed in it, and what in it is hardly meant."""
    folder: Path | None
    """Where the ids are kept, in a file; else they are kept in memory."""

    @property
    @abstractmethod
    def division(self) -> str:
        """What the token ids depend on, beside the text and the vocabulary."""

    @property
    @abstractmethod
    def ids_count(self) -> int:
        """The number of all token ids, n."""

    @abstractmethod
    def encoded(self) -> Iterator[Ids]:
        """Yields all token ids in pieces, made of the text.

        Raises:
            UnreadableTextError: the text is not what it was when it was read first.
        """

    @cached_property
    def ids(self) -> Ids:
        """All token ids [n]; made of the text, unless they are kept in a file.

        Raises:
            UnreadableTextError: the text is not what it was when it was read first.
            SaveError: they are not in the file, and it cannot be written.
        """
        if self.folder is None:
            return np.concatenate(list(self.encoded()))
        kept_of = f"{self.digest} {digest(self.vocabulary)} {self.division}"
        file = TokenFile(self.folder / TOKENS, kept_of, self.ids_count, id_type(self.vocabulary))
        if not file.intact():
            file.fill(self.encoded())
        return file.ids()

    def encode(self) -> None:
        """Makes the token ids, unless they are there; raises as `ids` does."""
        _ = self.ids

    @abstractmethod
    def beginning(self, part: Part, count: int) -> Ids:
        """Returns the first token ids of a part, about so many, with those of labels and ends."""

    @abstractmethod
    def batches(self, config: BatchConfig, seed: int, ranks: "Ranks", hardware: "Hardware") -> "Batches":
        """Returns what makes the chunks of the training part for the rows of a rank.

        Raises:
            ShortTextError: it is too short for the batch.
        """

    @abstractmethod
    def evaluation(self, part: Part) -> EvaluationBatches:
        """Returns a part to be measured; something of it counts."""

    @abstractmethod
    def description(self) -> str:
        """Returns its size in words."""

    @property
    def characters_per_token(self) -> float:
        """Characters of a token of the training part, on the average."""
        return self.characters[0] / max(1, self.parts[0])

    def bits_per_character(self, loss: float, part: Part) -> float:
        """A loss over a part of the text, in nats a token, in bits a character; NaN if the part is empty."""
        place = PART_NAMES.index(part)
        return bits_per_character(loss * self.parts[place], self.characters[place])

    def summary(self) -> dict[str, Any]:
        """What a checkpoint says of the text: its parts in characters, and their tokens."""
        return {
            "name": printable(self.texts.title),
            "sha256": self.digest,
            "characters": sum(self.characters),
            **dict(zip(PART_NAMES, self.characters, strict=True)),
            "tokens": dict(zip(PART_NAMES, self.parts, strict=True)),
        }


def control_notes(vocabulary: Vocabulary) -> list[str]:
    """Says which control characters a text has, beside line ends and tabs; they come of a wrong encoding.

    A vocabulary of bytes does not say it: all of them are in it.
    """
    used = set("".join(entry for entry in vocabulary.entries if isinstance(entry, str))) - {"\n", "\t"}
    found = [code for code in (*range(32), *range(127, 160)) if chr(code) in used]
    if not found:
        return []
    names = ", ".join(f"U+{code:04X}" for code in found)
    note = f"has the control characters {names}, which the model learns to write"
    if any(code >= 128 for code in found):
        note += "; was it cp1252 that was converted as latin1?"
    return [note]
