"""Scores: what a model makes of a given text. It knows neither models nor the wire."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from charloom.nats import bits, perplexity


@dataclass
class Score:
    """The log-probability of each of a text's T tokens, after all that is before it."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Nats."""
    text: str = ""
    """The text of these tokens: without characters that were skipped."""

    def add(self, token_ids: Iterable[int], logprobs: Iterable[float], text: str) -> None:
        """Takes in the next tokens."""
        self.token_ids.extend(token_ids)
        self.logprobs.extend(logprobs)
        self.text += text

    @property
    def logprob(self) -> float:
        """Of the whole text."""
        return sum(self.logprobs)

    @property
    def nats(self) -> float:
        """How surprising the whole text is."""
        return -self.logprob

    @property
    def nats_per_token(self) -> float:
        """How surprising a token of it is on the average; NaN if there is none."""
        return self.nats / len(self.logprobs) if self.logprobs else math.nan

    @property
    def bits_per_character(self) -> float:
        """What a character of it would take to store; NaN if there is none."""
        return bits(self.nats) / len(self.text) if self.text else math.nan

    @property
    def perplexity(self) -> float:
        """On average the model was as unsure as in a fair choice among this many tokens."""
        return perplexity(self.nats_per_token)
