"""What can be asked of a generation, wherever it runs: in this process or on a server."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields

from charloom.errors import CharloomError

SEEDS = 2**64
MAX_TEMPERATURE = 100.0
MAX_STOPS = 16
MAX_STOP_LENGTH = 256


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
    """How a stream chooses its tokens."""

    temperature: float = 1.0
    """Divides the scores before sampling: low is careful, high is wild, 0 takes the likeliest."""
    top_k: int = 0
    """Sample among the k likeliest tokens only; 0 for all."""
    top_p: float = 1.0
    """Sample among the smallest set of likeliest tokens of this probability."""
    min_p: float = 0.0
    """Sample among tokens at least this share as likely as the likeliest."""

    @property
    def plain(self) -> bool:
        """Whether no filter is on."""
        return self.top_k == 0 and self.top_p >= 1 and self.min_p == 0

    def violations(self) -> Iterator[Violation]:
        """What of it cannot be used."""
        if not 0 <= self.temperature <= MAX_TEMPERATURE:  # a NaN fails any comparison
            yield Violation("temperature", f"must be 0 to {MAX_TEMPERATURE:g}, not {self.temperature:g}")
        if not 0 <= self.top_k < 2**32:
            yield Violation("top_k", f"must be 0 (all) to 2**32 - 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            yield Violation("top_p", f"must be above 0 and at most 1, not {self.top_p:g}")
        if not 0 <= self.min_p <= 1:
            yield Violation("min_p", f"must be 0 to 1, not {self.min_p:g}")


@dataclass(frozen=True)
class GenerateOptions(Sampling):
    """Everything that shapes a text, besides its prompt."""

    max_tokens: int = 256
    """Tokens to generate at the most."""
    seed: int | None = None
    """Makes the text reproducible; chosen if absent."""
    stop: tuple[str, ...] = ()
    """End before the first of these strings; may be given several times."""
    skip_unknown: bool = False
    """Leave out characters of the prompt that the model does not know, instead of refusing it."""

    def violations(self) -> Iterator[Violation]:
        """What of it cannot be used, on any server."""
        yield from super().violations()
        if not 1 <= self.max_tokens < 2**32:
            yield Violation("max_tokens", f"must be 1 to 2**32 - 1, not {self.max_tokens}")
        if self.seed is not None and not 0 <= self.seed < SEEDS:
            yield Violation("seed", f"must be 0 to 2**64 - 1, not {self.seed}")
        if len(self.stop) > MAX_STOPS:
            yield Violation("stop", f"must be at most {MAX_STOPS} strings, not {len(self.stop)}")
        if any(not 1 <= len(string) <= MAX_STOP_LENGTH for string in self.stop):
            yield Violation("stop", f"strings must have 1 to {MAX_STOP_LENGTH} characters")

    @property
    def sampling(self) -> Sampling:
        """The part of it that chooses tokens."""
        return Sampling(**{field.name: getattr(self, field.name) for field in fields(Sampling)})


def check(options: GenerateOptions, n: int = 1) -> None:
    """Raises InvalidRequestError, which names every unusable field, for n texts with these options."""
    violations = list(options.violations())
    if n < 1:
        violations.append(Violation("n", f"must be at least 1, not {n}"))
    if violations:
        raise InvalidRequestError(violations)


def choose_seed() -> int:
    """A random seed; of 53 bits, which JavaScript's numbers hold exactly."""
    return random.SystemRandom().getrandbits(53)


def seed_of(first: int, index: int) -> int:
    """The seed of the text at `index`, from 0, of several that share a first seed."""
    return (first + index) % SEEDS
