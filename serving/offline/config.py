"""The options of offline generation: how many records, which of them count, and which part of them."""

import re
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from msgspec import Meta

from charloom.errors import ConfigError, require
from charloom.ranges import check_ranges
from serving.offline.shard import Shard

ATTEMPTS_PER_RECORD = 100
"""How many times as many attempts as records there may be, if nobody says."""
Numbers = Annotated[int, Meta(ge=1, le=2**53)]


@dataclass(frozen=True)
class CountConfig:
    """Options of --count, and of no use without it."""

    count: Numbers | None = None
    """Records to write to --output, a .jsonl, .txt, .csv or .parquet: the first attempts that pass. An
    attempt that its length ends and nothing else, or that has no text, is no record. The same command goes
    on after an interruption."""
    unique: bool = False
    """Drop a record that is equal to an earlier one."""
    novel: bool = False
    """Drop a record of the training text; needs a bundle that was exported with --novelty."""
    match: str | None = None
    """Drop a record that this regular expression of Python does not match as a whole."""
    max_attempts: Numbers | None = None
    """Attempts to make at the most, of all shards together; 100 for each record if nothing is said."""
    shard: str = ""
    """INDEX/COUNT: make every COUNT-th attempt alone, from INDEX on, which counts from 0; `charloom merge`
    joins what all of them make."""
    min_attempts: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Attempts that a shard goes on to, of all shards together, if `charloom merge` says so."""
    max_batch: Annotated[int, Meta(ge=1, le=65536)] = 256
    """Attempts computed together in one burst; changes nothing but the speed."""
    overwrite: bool = False
    """Replace an output that is there, and an interrupted one of other options."""

    def __post_init__(self) -> None:
        check_ranges(self)
        alone = CountConfig.__dataclass_fields__
        if self.count is None:
            for name in alone:
                unset = getattr(self, name) == alone[name].default
                require(unset, name, "needs --count")
            return
        _ = self.part, self.pattern
        if self.max_attempts is not None:
            enough = self.max_attempts >= self.count
            require(enough, "max_attempts", f"must be at least count ({self.count}), not {self.max_attempts}")
        require(not self.min_attempts or bool(self.shard), "min_attempts", "is for a shard")

    @property
    def attempts(self) -> int:
        """Attempts to make at the most."""
        assert self.count is not None
        return self.max_attempts or min(2**53, ATTEMPTS_PER_RECORD * self.count)

    @property
    def part(self) -> Shard:
        """Which attempts are made here."""
        return Shard.parse(self.shard) if self.shard else Shard()

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What a record must match.

        Raises:
            ConfigError: it is no regular expression.
        """
        try:
            return None if self.match is None else re.compile(self.match)
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError("match", f"is no regular expression: {error} in {self.match!r}") from error


COUNT = Annotated[CountConfig, Parameter(name="*")]
