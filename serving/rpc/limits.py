"""Limits: how much one request, and one conversation, may ask of the server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from charloom.errors import require
from charloom.options import MAX_ALTERNATIVES, GenerateOptions, Violation, unless_between
from charloom.ranges import check_ranges

MAX_BYTES = 2**20
"""Bytes of a response that holds several texts, about: gRPC's clients take 4 MiB by default."""


@dataclass(frozen=True)
class RequestLimits:
    """What one request may ask for."""

    default_tokens: Annotated[int, Meta(ge=1)] = GenerateOptions.max_tokens
    """Tokens to generate for a request that does not say how many."""
    max_tokens: Annotated[int, Meta(ge=1)] = 1_000_000
    """Tokens that a request may ask for, at the most."""
    max_prompt: Annotated[int, Meta(ge=0)] = 1_000_000
    """Characters of a prompt, of texts to score, or of a text fed to a conversation, at the most."""
    max_texts: Annotated[int, Meta(ge=1)] = 128
    """Texts that a request may ask for, at the most; one for a series of texts has no limit."""
    max_parallel: Annotated[int, Meta(ge=1)] = 256
    """Texts of a series that may be generated at the same time, at the most."""

    def __post_init__(self) -> None:
        check_ranges(self)
        require(
            self.max_tokens >= self.default_tokens,
            "max_tokens",
            f"must be at least default_tokens ({self.default_tokens}), not {self.max_tokens}",
        )

    def violations(self, options: GenerateOptions, n: int, logprobs: int) -> Iterator[Violation]:
        """What of a request for n texts goes beyond them."""
        if options.max_tokens > self.max_tokens:
            reason = f"must be at most {self.max_tokens} here, not {options.max_tokens}"
            yield Violation("max_tokens", reason)
        yield from unless_between("n", [n], 1, self.max_texts)
        yield from unless_between("logprobs", [logprobs], 0, MAX_ALTERNATIVES)

    def unless_short(self, field: str, text: str) -> Iterator[Violation]:
        """What is wrong with a text to be read, if it is longer than a prompt may be."""
        if len(text) > self.max_prompt:
            reason = f"must be at most {self.max_prompt} characters here, not {len(text)}"
            yield Violation(field, reason)


@dataclass(frozen=True)
class ConversationLimits:
    """What one conversation may hold."""

    max_branches: Annotated[int, Meta(ge=1)] = 16
    """Branches of a conversation, at the most."""
    max_history: Annotated[int, Meta(ge=0)] = 10_000
    """Tokens by which a branch of a conversation can be rewound, at the most."""
    max_commands: Annotated[int, Meta(ge=1)] = 64
    """Commands that may wait in a branch of a conversation; more are not read until some are done."""
    max_conversations: Annotated[int, Meta(ge=0)] = 1024
    """Conversations held at the same time; more are refused."""
    opening_timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds in which a client must send the first message of a conversation."""

    def __post_init__(self) -> None:
        check_ranges(self)
