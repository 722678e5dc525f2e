"""The options of a generation as the command line writes them.

A token is written as its text, or as id:INT. What the options mean is in `options.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from charloom.options import Biases, GenerateOptions, StopTokens, Token, Tokens


def token(word: str) -> Token:
    """The token of a word."""
    number = word.removeprefix("id:")
    return int(number) if number != word and number.isdecimal() else word


def tokens(_: object, words: Sequence[cyclopts.Token]) -> tuple[Token, ...]:
    """The tokens of an option."""
    return tuple(token(word.value) for word in words)


def biases(_: object, words: Sequence[cyclopts.Token]) -> tuple[tuple[Token, float], ...]:
    """The biased tokens of an option; raises ValueError for one without a bias."""
    return tuple(bias(word.value) for word in words)


def bias(word: str) -> tuple[Token, float]:
    """A token and its bias; the last equals sign is between them."""
    name, _, value = word.rpartition("=")
    try:
        return token(name), float(value)
    except ValueError:
        raise ValueError(f"{word!r} is not TEXT=BIAS or id:INT=BIAS") from None


def secret(_: object, words: Sequence[cyclopts.Token]) -> str:
    """A secret; raises ValueError for one on the command line, which every user of the machine can read."""
    (word,) = words
    if word.source == "cli":
        raise ValueError("cannot be given on the command line, where other users see it")
    return word.value


Secret = Annotated[str | None, Parameter(converter=secret, show=False)]
"""What an environment variable or a file can hold, and the command line cannot."""

TOKENS = Parameter(converter=tokens, n_tokens=1, metavar="TEXT|id:INT...")
BIASES = Parameter(converter=biases, n_tokens=1, metavar="TEXT|id:INT=BIAS...")


@dataclass(frozen=True)
class Flags(GenerateOptions):
    """The options, with the way to write those that name tokens."""

    logit_bias: Annotated[Biases, BIASES] = ()
    allowed_tokens: Annotated[Tokens, TOKENS] = ()
    forbidden_tokens: Annotated[Tokens, TOKENS] = ()
    stop_tokens: Annotated[StopTokens, TOKENS] = ()
