"""A job: all that the bytes of its output depend on, as the folder of an unfinished one states it."""

from dataclasses import asdict
from typing import Any

import msgspec

from charloom.errors import CharloomError
from charloom.options import GenerateOptions
from serving.offline.config import CountConfig
from serving.offline.shard import Shard
from serving.offline.source import AttemptSource


class JobMismatchError(CharloomError):
    """What is there was begun with other options."""

    exit_code = 14


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is generated, and which attempts count."""

    model: str
    """Digest of the bundle."""
    execution_class: str
    prompt: str
    labels: list[str]
    options: dict[str, Any]
    """Fields of GenerateOptions, with the seed of attempt 0."""
    count: int
    """N records, of all shards together."""
    unique: bool
    novel: bool
    match: str | None
    max_attempts: int
    suffix: str
    """That of the output, which names its format."""
    separator: str
    """What follows each record in plain text."""
    shard: int = 0
    shards: int = 1

    @classmethod
    def of(
        cls,
        source: AttemptSource,
        prompt: str,
        labels: list[str],
        options: GenerateOptions,
        config: CountConfig,
        suffix: str,
        separator: str,
    ) -> "Job":
        """The job of a command."""
        assert config.count is not None
        assert options.seed is not None
        return cls(
            model=source.model,
            execution_class=source.execution_class,
            prompt=prompt,
            labels=labels,
            options=msgspec.json.decode(msgspec.json.encode(asdict(options))),
            count=config.count,
            unique=config.unique,
            novel=config.novel,
            match=config.match,
            max_attempts=config.attempts,
            suffix=suffix,
            separator=separator,
            shard=config.part.index,
            shards=config.part.count,
        )

    @property
    def part(self) -> Shard:
        """Which attempts are made here."""
        return Shard(self.shard, self.shards)

    @property
    def records_here(self) -> int:
        """Records after which it ends: N, or of a shard so many that all together hardly have too few.

        How many of its attempts pass varies as a binomial does: four standard deviations are added.
        """
        if self.shards == 1:
            return self.count
        share = self.count / self.shards
        return min(self.count, int(share + 4 * share**0.5) + 1)

    def check_same(self, other: "Job", where: str) -> None:
        """Raises JobMismatchError, which names what differs, if another job at a place is not this one."""
        mine, others = flat(self), flat(other)
        for name, value in mine.items():
            if others.get(name) != value:
                raise JobMismatchError(
                    f"{where} was begun with another {name}: {others.get(name)!r}, not {value!r}; "
                    "give the same options, or --overwrite to begin anew"
                )


def flat(job: Job) -> dict[str, Any]:
    """The fields of a job, those of its options among them, by the names that users know."""
    fields = msgspec.to_builtins(job)
    return {name.replace("_", "-"): value for name, value in (fields | fields.pop("options")).items()}
