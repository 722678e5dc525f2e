"""Sampled tokens: the tokens that a stream hands out, with the log-probabilities the model gave them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from charloom.vocabulary import Tokens, no_tokens

Logprobs = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SampledTokens:
    """T tokens in order, and the N likeliest tokens at the position of each.

    Log-probabilities are the model's own, in nats: at temperature 1, before penalties and filters.
    """

    tokens: Tokens
    """int64 [T]"""
    logprobs: Logprobs
    """float32 [T]; NaN if they were not requested."""
    top_tokens: Tokens
    """int64 [T, N], likeliest first; N is 0 if they were not requested."""
    top_logprobs: Logprobs
    """float32 [T, N]"""
    ranks: Tokens = field(default_factory=no_tokens)
    """int64 [T]: the place of each token among all by their probability, from 1; [0] if not requested."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, part: slice) -> "SampledTokens":
        return SampledTokens(
            self.tokens[part],
            self.logprobs[part],
            self.top_tokens[part],
            self.top_logprobs[part],
            self.ranks[part],
        )


def concatenate(parts: Sequence[SampledTokens]) -> SampledTokens:
    """Joins consecutive tokens of one stream."""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else parts[0]
    arrays = {one.name: [getattr(part, one.name) for part in some] for one in fields(SampledTokens)}
    return SampledTokens(**{name: np.concatenate(of_parts) for name, of_parts in arrays.items()})


def unrequested(tokens: Tokens) -> SampledTokens:
    """Returns tokens [T] without anything else, which was not requested (N = 0)."""
    return SampledTokens(
        tokens=tokens,
        logprobs=np.full(len(tokens), np.nan, np.float32),
        top_tokens=np.empty((len(tokens), 0), np.int64),
        top_logprobs=np.empty((len(tokens), 0), np.float32),
    )


def no_sampled_tokens() -> SampledTokens:
    """Returns an empty sequence (T = 0, N = 0)."""
    return unrequested(no_tokens())
