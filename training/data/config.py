"""The options of the data: how a text is divided, and how it is read."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from charloom.errors import require
from charloom.ranges import check_ranges


@dataclass(frozen=True)
class CorpusConfig:
    """How the text is divided, from its beginning: training, validation, and the rest as test."""

    train_fraction: Annotated[float, Meta(gt=0, lt=1)] = 0.9
    """Share of the text to train on."""
    validation_fraction: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    """Share of the text behind it, to validate on; the rest is a test at the end. Of records, the hash of
    each decides where it belongs."""

    def __post_init__(self) -> None:
        check_ranges(self)
        total = self.train_fraction + self.validation_fraction
        require(
            total <= 1 + 1e-9,
            "train_fraction",
            f"and validation_fraction make up {total:g} of the text, more than all of it",
        )

    def divide(self, length: int) -> tuple[int, int, int]:
        """Characters of the three parts of a text of so many."""
        first = int(length * self.train_fraction)
        rest = self.train_fraction + self.validation_fraction
        second = length if rest >= 1 - 1e-9 else int(length * rest)
        return first, second - first, length - second


@dataclass(frozen=True)
class BatchConfig:
    """Size and shape of a training step."""

    batch: Annotated[int, Meta(ge=1)] = 32
    """Pieces of the text read side by side in a step."""
    length: Annotated[int, Meta(ge=1)] = 64
    """Tokens of each piece in a step, as far as gradients reach; the state goes on beyond."""
    start_rate: Annotated[float, Meta(ge=0, le=0.5)] = 0.375
    """Share of the pieces, at least one of two or more, that begin a line in each step as a text without a
    prompt begins; 0: none."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def fresh(self) -> int:
        """Pieces of a step that begin a line afresh, F."""
        return min(self.batch // 2, max(1, round(self.start_rate * self.batch))) if self.start_rate else 0
