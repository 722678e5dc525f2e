"""Scores: the log-probabilities that a model gives the tokens of a text, and the measures made of them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Score:
    """The log-probability of each of a text's T tokens, after all that is before it."""

    token_ids: list[int] = field(default_factory=list)
    """[T]"""
    logprobs: list[float] = field(default_factory=list)
    """[T], in nats."""
    token_texts: list[str] = field(default_factory=list)
    """[T]: the text that each token completes, without characters that were skipped; where a character
    takes several tokens, the last of them has it."""

    def add(self, token_ids: Iterable[int], logprobs: Iterable[float], token_texts: Iterable[str]) -> None:
        """Appends the next tokens."""
        self.token_ids.extend(token_ids)
        self.logprobs.extend(logprobs)
        self.token_texts.extend(token_texts)

    @property
    def text(self) -> str:
        """The text of all tokens."""
        return "".join(self.token_texts)

    @property
    def logprob(self) -> float:
        """The log-probability of the whole text, in nats."""
        return sum(self.logprobs)

    @property
    def nats(self) -> float:
        """The surprise of the whole text."""
        return -self.logprob

    @property
    def nats_per_token(self) -> float:
        """The mean surprise of a token; NaN if there is none."""
        return self.nats / len(self.logprobs) if self.logprobs else math.nan

    @property
    def bits_per_character(self) -> float:
        """Bits that a character takes to store, on the average; NaN if there is none."""
        return bits_per_character(self.nats, len(self.text))

    @property
    def perplexity(self) -> float:
        """The number of tokens among which a fair choice is as unsure as the model was, on the average."""
        return perplexity(self.nats_per_token)


def bits_per_character(nats: float, characters: int) -> float:
    """Bits that a character takes to store, of a text of so many nats; NaN if it has none."""
    return nats / math.log(2) / characters if characters else math.nan


def perplexity(nats_per_token: float) -> float:
    """The number of tokens among which a fair choice is as unsure; infinity where that overflows."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf
