"""What the commands need of a model, be it on a server or in this process."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from charloom.options import GenerateOptions
from charloom.score import Score

Pieces = Iterator[tuple[int, str, bool]]
"""Pieces of n texts as they are generated: index of the text, what was added, whether it is complete."""


class TextModel(Protocol):
    """A model that generates, scores and embeds texts."""

    def stream(self, prompt: str, options: GenerateOptions, *, n: int = 1) -> Pieces:
        """Generates n texts."""
        ...

    def score(self, texts: Sequence[str], prompt: str = "", *, skip_unknown: bool = False) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt."""
        ...

    def embed(self, texts: Sequence[str], *, skip_unknown: bool = False) -> list[list[float]]:
        """Gives a vector of length 1 for each text."""
        ...
