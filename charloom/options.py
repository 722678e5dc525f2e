"""What can be asked of a generation, wherever it runs: in this process or on a server.

Names and ranges are those that vLLM documents, where it has the like; docs/sampling.md says where
they differ and why, and in which order things apply.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from msgspec import Meta

from charloom.errors import CharloomError
from charloom.ranges import out_of_range

Token = int | str
"""A token, named by its id or by its text."""

SEEDS = 2**64
COUNTS = 2**32
MAX_TEMPERATURES = 64
MAX_WINDOW = 1024
MAX_BIAS = 100.0
MAX_NAMED = {"logit_bias": 300, "allowed_tokens": 2**14, "forbidden_tokens": 2**14, "stop_tokens": 64}
"""Tokens that each field may name, at the most."""
MAX_STOPS = 16
MAX_ALTERNATIVES = 20

Count = Annotated[int, Meta(ge=0, le=COUNTS - 1)]
Probability = Annotated[float, Meta(gt=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
# A repetition penalty beyond these, or its inverse, makes scores overflow at temperature 0.
Divisor = Annotated[float, Meta(ge=2.0**-10, le=2.0**10)]
Temperatures = Annotated[
    tuple[Annotated[float, Meta(ge=0, le=100)], ...], Meta(min_length=1, max_length=MAX_TEMPERATURES)
]
Biases = Annotated[tuple[tuple[Token, float], ...], Meta(max_length=MAX_NAMED["logit_bias"])]
Tokens = Annotated[tuple[Token, ...], Meta(max_length=MAX_NAMED["allowed_tokens"])]
StopTokens = Annotated[tuple[Token, ...], Meta(max_length=MAX_NAMED["stop_tokens"])]
Stops = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=MAX_STOPS)]


@dataclass(frozen=True)
class Violation:
    """One field of a request that cannot be used."""

    field: str
    reason: str


class InvalidRequestError(CharloomError):
    """Fields of a request have unusable values."""

    exit_code = 2

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("; ".join(f"{v.field} {v.reason}" for v in violations))
        self.violations = violations


@dataclass(frozen=True)
class Sampling:
    """How a stream chooses among tokens, whichever they are.

    The temperature may be given as one number or as several in any sequence.
    """

    temperature: Temperatures = (1.0,)
    """Divides the scores: low is careful, high is wild, 0 always takes the likeliest token. Several
    temperatures take turns, one a token."""
    top_k: Count = 0
    """Sample among this many of the likeliest tokens; 0 takes all."""
    top_p: Probability = 1.0
    """Sample among the fewest likeliest tokens that together have this probability."""
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Sample among tokens at least this share as likely as the likeliest."""
    typical_p: Probability = 1.0
    """Sample among the fewest tokens of typical surprise that together have this probability."""
    repetition_penalty: Divisor = 1.0
    """Makes recent tokens less likely, by division of their scores; below 1, more likely."""
    frequency_penalty: Penalty = 0.0
    """Taken off the score of a recent token for each time that it occurred."""
    presence_penalty: Penalty = 0.0
    """Taken off the score of a recent token once."""
    penalty_window: Annotated[int, Meta(ge=1, le=MAX_WINDOW)] = 64
    """Tokens, of prompt and text alike, that are recent to the penalties."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", as_tuple(self.temperature))

    @property
    def penalises(self) -> bool:
        """Whether recent tokens matter."""
        return (self.repetition_penalty, self.frequency_penalty, self.presence_penalty) != (1, 0, 0)

    @property
    def plain(self) -> bool:
        """Whether temperature is all there is."""
        return (self.top_k, self.top_p, self.min_p, self.typical_p) == (0, 1, 0, 1) and not self.penalises

    def violations(self) -> Iterator[Violation]:
        """What of it cannot be used."""
        yield from (Violation(name, reason) for name, reason in out_of_range(self))


@dataclass(frozen=True)
class GenerateOptions(Sampling):
    """Everything that shapes a text, besides its prompt.

    What is listed may be given as any sequence, or as the one thing in it; biases also as a mapping.
    """

    logit_bias: Biases = ()
    """Added to the scores of these tokens, from -100 to 100."""
    allowed_tokens: Tokens = ()
    """Sample these tokens only; without any, all are allowed."""
    forbidden_tokens: Tokens = ()
    """Never sample these tokens."""
    max_tokens: Count = 256
    """Tokens to generate, at the most; 0 only reads the prompt."""
    min_tokens: Count = 0
    """Tokens to generate before a stop, or the end of a record, can end the text."""
    ignore_end: bool = False
    """Never end a record, but go on to the full length or to a stop; only models of records end any."""
    seed: Annotated[int, Meta(ge=0, le=SEEDS - 1)] | None = None
    """Makes the text reproducible; without it one is chosen."""
    stop: Stops = ()
    """End before the first of these strings."""
    stop_tokens: StopTokens = ()
    """End before the first of these tokens."""
    skip_unknown: bool = False
    """Leave out characters of the prompt that the model does not know, instead of refusing it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("logit_bias", "allowed_tokens", "forbidden_tokens", "stop", "stop_tokens"):
            object.__setattr__(self, name, as_tuple(getattr(self, name)))

    def violations(self) -> Iterator[Violation]:
        """What of it cannot be used, whatever the model."""
        yield from super().violations()
        if 0 <= self.max_tokens < self.min_tokens:
            reason = f"must be at most max_tokens ({self.max_tokens}), not {self.min_tokens}"
            yield Violation("min_tokens", reason)
        yield from unless_between("logit_bias", [bias for _, bias in self.logit_bias], -MAX_BIAS, MAX_BIAS)
        for name, tokens in self.named_tokens.items():
            if not all(isinstance(token, str) or 0 <= token < COUNTS for token in tokens):
                yield Violation(name, "must name tokens by text or by id, 0 to 2**32 - 1")

    @property
    def named_tokens(self) -> dict[str, tuple[Token, ...]]:
        """The tokens that each field names."""
        return {
            "logit_bias": tuple(token for token, _ in self.logit_bias),
            "allowed_tokens": self.allowed_tokens,
            "forbidden_tokens": self.forbidden_tokens,
            "stop_tokens": self.stop_tokens,
        }

    @property
    def sampling(self) -> Sampling:
        """The options that name no tokens."""
        return Sampling(**{field.name: getattr(self, field.name) for field in fields(Sampling)})


def as_tuple(given: Any) -> tuple[Any, ...]:
    """One thing, a mapping or a sequence as a tuple."""
    if isinstance(given, str | int | float):
        return (given,)
    return tuple(given.items() if isinstance(given, Mapping) else given)


def no_string(strings: Sequence[str], name: str = "texts") -> Sequence[str]:
    """Strings as they are; raises TypeError for a single one, which would be read as its characters."""
    if isinstance(strings, str):
        raise TypeError(f"{name} are a list: put a single one into [ ]")
    return strings


def unless_between(field: str, values: Iterable[float], lowest: float, highest: float) -> Iterator[Violation]:
    """The violation of the first value that does not lie between its bounds; a NaN never does."""
    for value in values:
        if not lowest <= value <= highest:
            said = value if isinstance(value, int) else f"{value:g}"
            yield Violation(field, f"must be {lowest:g} to {highest:g}, not {said}")
            return


def check(options: GenerateOptions, n: int = 1, logprobs: int | None = None) -> None:
    """Raises InvalidRequestError, which names every unusable field, for n texts with these options."""
    violations = list(options.violations())
    if not 1 <= n < COUNTS:
        violations.append(Violation("n", f"must be at least 1, not {n}"))
    if logprobs is not None:
        violations += unless_between("logprobs", [logprobs], 0, MAX_ALTERNATIVES)
    if violations:
        raise InvalidRequestError(violations)


def choose_seed() -> int:
    """A random seed; of 53 bits, which JavaScript's numbers hold exactly."""
    return random.SystemRandom().getrandbits(53)


def seed_of(first: int, index: int) -> int:
    """The seed of the text at `index`, from 0, of several that share a first seed."""
    return (first + index) % SEEDS
