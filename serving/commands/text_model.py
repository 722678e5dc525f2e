"""What the commands need of a model, be it on a server or in this process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from charloom.options import GenerateOptions
from charloom.score import Score
from serving.offline.source import AttemptSource


@dataclass(frozen=True)
class TextEnding:
    """How a text ended."""

    finish: str
    """Why: length, stop, or end where the model ended the record."""
    tokens: int
    """Tokens that were generated."""


@dataclass(frozen=True)
class TextPiece:
    """What was added to one of several texts."""

    index: int
    text: str
    ending: TextEnding | None = None
    """Set once the text is complete."""


class TextModel(Protocol):
    """A model that generates, scores and embeds texts: records of some labels, if it has any."""

    @property
    def label_columns(self) -> Mapping[str, Sequence[str]]:
        """The labels that every record has, and what each can be."""
        ...

    def stream(
        self, prompt: str, options: GenerateOptions, *, n: int = 1, labels: Sequence[str] = ()
    ) -> Iterator[TextPiece]:
        """Generates n texts at the same time, piece by piece."""
        ...

    def attempt_source(
        self, prompt: str, options: GenerateOptions, *, labels: Sequence[str] = (), max_batch: int
    ) -> AttemptSource:
        """Returns what runs attempts in large numbers; that of number i has the seed plus i."""
        ...

    def score(
        self,
        texts: Sequence[str],
        prompt: str = "",
        *,
        labels: Sequence[str] = (),
        skip_unknown: bool = False,
        ranks: bool = False,
    ) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt."""
        ...

    def embed(
        self, texts: Sequence[str], *, labels: Sequence[str] = (), skip_unknown: bool = False
    ) -> list[list[float]]:
        """Gives a vector of length 1 for each text."""
        ...
