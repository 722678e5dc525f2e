"""Scores: the log-probabilities that a model gives the tokens of a text, and the measures made of them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Score:
    """The log-probability of each of a text's T tokens, after all that is before it.

    Where a model's texts are records, the last token is the end of the record, which has no text.
    """

    token_ids: list[int] = field(default_factory=list)
    """[T]"""
    logprobs: list[float] = field(default_factory=list)
    """[T], in nats."""
    token_texts: list[str] = field(default_factory=list)
    """[T]: the text that each token completes, without characters that were skipped; where a character
    takes several tokens, the last of them has it."""
    ranks: list[int] = field(default_factory=list)
    """[T]: the place of each token among all by their probability, from 1; empty unless requested."""
    unknown: int = 0
    """Number of characters that the vocabulary lacks. Those that the model has no token for count as
    `unknown_logprob` says, with an id that is no token's."""

    def add(
        self,
        token_ids: Iterable[int],
        logprobs: Iterable[float],
        token_texts: Iterable[str],
        ranks: Iterable[int] = (),
    ) -> None:
        """Appends the next tokens."""
        self.token_ids.extend(token_ids)
        self.logprobs.extend(logprobs)
        self.token_texts.extend(token_texts)
        self.ranks.extend(ranks)

    def extend(self, part: "Score") -> None:
        """Appends a part that comes after."""
        self.add(part.token_ids, part.logprobs, part.token_texts, part.ranks)
        self.unknown += part.unknown

    @property
    def text(self) -> str:
        """The text of all tokens."""
        return "".join(self.token_texts)

    @property
    def logprob(self) -> float:
        """The log-probability of the whole text, in nats."""
        return sum(self.logprobs)

    @property
    def worst_rank(self) -> int:
        """The rank of the token that the model expected least; 0 without a token, or without ranks."""
        return max(self.ranks, default=0)

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


def unknown_logprob(training: Mapping[str, Any], vocabulary_size: int) -> float:
    """Returns the log-probability, in nats, of a character that a model has no token for.

    It is that of 1 / (N + V + 1), of N tokens of training text and a vocabulary of V: the add-one estimate
    (Laplace) of a token that never occurred, below that of any token that did.

    Args:
        training: the summary of the training in the bundle's manifest, which says N.
        vocabulary_size: V.
    """
    text = training.get("text")
    tokens = text.get("tokens") if isinstance(text, dict) else None
    count = tokens.get("train") if isinstance(tokens, dict) else None
    return -math.log((count if isinstance(count, int) and count > 0 else 0) + vocabulary_size + 1)


def bits_per_character(nats: float, characters: int) -> float:
    """Bits that a character takes to store, of a text of so many nats; NaN if it has none."""
    return nats / math.log(2) / characters if characters else math.nan


def perplexity(nats_per_token: float) -> float:
    """The number of tokens among which a fair choice is as unsure; infinity where that overflows."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf
