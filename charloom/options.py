"""What can be asked of a generation, wherever it runs: in this process or on a server.

Names and ranges are those that vLLM documents, where it has the like; docs/sampling.md says where
they differ and why, and in which order things apply.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from charloom.errors import CharloomError

Token = int | str
"""A token, named by its id or by its text."""

SEEDS = 2**64
COUNTS = 2**32
MAX_TEMPERATURE = 100.0
MAX_TEMPERATURES = 64
MAX_REPETITION = 2.0**10
"""Of the repetition penalty and of its inverse: beyond it, scores overflow at temperature 0."""
MAX_PENALTY = 2.0
MAX_WINDOW = 1024
MAX_BIAS = 100.0
MAX_NAMED = {"logit_bias": 300, "allowed_tokens": 2**14, "forbidden_tokens": 2**14, "stop_tokens": 64}
"""Most tokens that each field may name."""
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_ALTERNATIVES = 20


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

    temperature: tuple[float, ...] = (1.0,)
    """Divides the scores: low is careful, high is wild, 0 takes the likeliest token (0 to 100).
    Several take turns, one a token."""
    top_k: int = 0
    """Sample among the k likeliest tokens only (0 for all)."""
    top_p: float = 1.0
    """Sample among the fewest likeliest tokens that have this probability (above 0, to 1)."""
    min_p: float = 0.0
    """Sample among tokens at least this share as likely as the likeliest (0 to 1)."""
    typical_p: float = 1.0
    """Sample among the fewest tokens of typical surprise that have this probability (above 0, to 1)."""
    repetition_penalty: float = 1.0
    """Makes recent tokens less likely, by division of their scores; more likely below 1 (2**-10 to 2**10)."""
    frequency_penalty: float = 0.0
    """Taken off the score of a recent token for each time it occurred (-2 to 2)."""
    presence_penalty: float = 0.0
    """Taken off the score of a recent token once (-2 to 2)."""
    penalty_window: int = 64
    """How many tokens, of prompt and text alike, are recent to the penalties (1 to 1024)."""

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
        yield from unless_between("temperature", self.temperature, 0, MAX_TEMPERATURE)
        if not 1 <= len(self.temperature) <= MAX_TEMPERATURES:
            reason = f"must be 1 to {MAX_TEMPERATURES} numbers, not {len(self.temperature)}"
            yield Violation("temperature", reason)
        if not 0 <= self.top_k < COUNTS:
            yield Violation("top_k", f"must be 0 (all) to 2**32 - 1, not {self.top_k}")
        for name in ("top_p", "typical_p"):
            if not 0 < (share := getattr(self, name)) <= 1:
                yield Violation(name, f"must be above 0 and at most 1, not {share:g}")
        yield from unless_between("min_p", [self.min_p], 0, 1)
        if not 1 / MAX_REPETITION <= self.repetition_penalty <= MAX_REPETITION:
            reason = f"must be 2**-10 to 2**10, not {self.repetition_penalty:g}"
            yield Violation("repetition_penalty", reason)
        for name in ("frequency_penalty", "presence_penalty"):
            yield from unless_between(name, [getattr(self, name)], -MAX_PENALTY, MAX_PENALTY)
        yield from unless_between("penalty_window", [self.penalty_window], 1, MAX_WINDOW)


@dataclass(frozen=True)
class GenerateOptions(Sampling):
    """Everything that shapes a text, besides its prompt.

    What is listed may be given as any sequence, or as the one thing in it; biases also as a mapping.
    """

    logit_bias: tuple[tuple[Token, float], ...] = ()
    """Added to the scores of these tokens (-100 to 100)."""
    allowed_tokens: tuple[Token, ...] = ()
    """Sample these tokens only; all if none is named."""
    forbidden_tokens: tuple[Token, ...] = ()
    """Never sample these tokens."""
    max_tokens: int = 256
    """Tokens to generate at the most; 0 only reads the prompt."""
    min_tokens: int = 0
    """Tokens to generate before a stop string or a stop token can end the text (0 to max-tokens)."""
    seed: int | None = None
    """Makes the text reproducible (0 to 2**64 - 1); chosen if absent."""
    stop: tuple[str, ...] = ()
    """End before the first of these strings; may be given several times."""
    stop_tokens: tuple[Token, ...] = ()
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
        if not 0 <= self.max_tokens < COUNTS:
            yield Violation("max_tokens", f"must be 0 to 2**32 - 1, not {self.max_tokens}")
        elif not 0 <= self.min_tokens <= self.max_tokens:
            reason = f"must be 0 to max_tokens ({self.max_tokens}), not {self.min_tokens}"
            yield Violation("min_tokens", reason)
        if self.seed is not None and not 0 <= self.seed < SEEDS:
            yield Violation("seed", f"must be 0 to 2**64 - 1, not {self.seed}")
        if len(self.stop) > MAX_STOPS:
            yield Violation("stop", f"must be at most {MAX_STOPS} strings, not {len(self.stop)}")
        if any(not 1 <= len(string) <= MAX_STOP_LENGTH for string in self.stop):
            yield Violation("stop", f"strings must have 1 to {MAX_STOP_LENGTH} characters")
        yield from unless_between("logit_bias", [bias for _, bias in self.logit_bias], -MAX_BIAS, MAX_BIAS)
        for name, tokens in self.named_tokens.items():
            if len(tokens) > MAX_NAMED[name]:
                yield Violation(name, f"must name at most {MAX_NAMED[name]} tokens, not {len(tokens)}")
            elif not all(isinstance(token, str) or 0 <= token < COUNTS for token in tokens):
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
        """The part of it that knows no token by name."""
        return Sampling(**{field.name: getattr(self, field.name) for field in fields(Sampling)})


def as_tuple(given: Any) -> tuple[Any, ...]:
    """One thing, a mapping or a sequence as a tuple."""
    if isinstance(given, str | int | float):
        return (given,)
    return tuple(given.items() if isinstance(given, Mapping) else given)


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
