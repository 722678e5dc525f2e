"""Merging: the folders of all shards become the output that one machine would have made."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from charloom.errors import ConfigError
from charloom.files import PARTIAL, remove
from serving.offline.doubles import Doubles
from serving.offline.folder import (
    DOUBLES,
    INDEX,
    RECORDS,
    JobFolder,
    JobFolderError,
    JobProgress,
    read_progress,
)
from serving.offline.formats import format_of
from serving.offline.index import hashes_of, read_rows
from serving.offline.job import Job
from serving.offline.output import check_free, publish
from serving.offline.parts import check_parquet
from serving.offline.progress_bar import ProgressBar, say
from serving.offline.run import TooFewError, too_few
from serving.offline.shard import Shard

WINDOW = 2**16
"""Attempts whose records are in memory at a time."""
MARGIN = 1.02
"""How many times as many attempts are asked for as records are expected to need."""


class ShardRecord(NamedTuple):
    """A record of a shard; they are in the order of their attempts."""

    number: int
    encoded: bytes
    hash: bytes


class ShardReader:
    """The records of one shard, window by window."""

    def __init__(self, folder: Path, progress: JobProgress) -> None:
        self.progress = progress
        self._records = self._read(folder)
        self._next = next(self._records, None)

    @property
    def end(self) -> int | None:
        """The number of the first attempt that is not made; None if all are."""
        numbers = self.progress.job.part.numbers(self.progress.job.max_attempts)
        made = self.progress.attempts
        return numbers[made] if made < len(numbers) else None

    def below(self, number: int) -> Iterator[ShardRecord]:
        """Its next records, of attempts below a number."""
        while self._next is not None and self._next.number < number:
            yield self._next
            self._next = next(self._records, None)

    def _read(self, folder: Path) -> Iterator[ShardRecord]:
        job = self.progress.job
        with (folder / RECORDS).open("rb") as stream:
            stream.seek(len(format_of(job.suffix, job.separator).header))
            for rows in read_rows(folder / INDEX, self.progress.records):
                numbers, lengths = rows["number"].tolist(), rows["bytes"].tolist()
                for number, length, one in zip(numbers, lengths, hashes_of(rows), strict=True):
                    yield ShardRecord(number, stream.read(length), one)


class Merge:
    """Joins shards in the order of their attempts, drops doubles between them, and cuts at N."""

    def __init__(self, folders: Sequence[Path], output: Path, *, overwrite: bool = False) -> None:
        """Opens the shards.

        Raises:
            ConfigError: a folder is none of a shard, or a shard is there twice or not at all, or the output
                is of another format.
            JobMismatchError: they are not of one job.
        """
        self.output = output
        self.overwrite = overwrite
        self.readers = list(map(open_shard, folders))
        jobs = [reader.progress.job for reader in self.readers]
        for folder, job in zip(folders, jobs, strict=True):
            whole(jobs[0]).check_same(whole(job), str(folder))
        self.job = whole(jobs[0])
        shards = jobs[0].shards
        there = sorted(job.shard for job in jobs)
        if missing := [str(Shard(index, shards)) for index in range(shards) if index not in there]:
            raise ConfigError("shards", f"lack {', '.join(missing)}")
        if len(there) > shards:
            raise ConfigError("shards", "have one of them twice")
        if output.suffix.lower() != self.job.suffix:
            raise ConfigError("output", f"must end with {self.job.suffix}, as the output of the shards did")
        if self.job.suffix == ".parquet":
            check_parquet()

    def run(self) -> None:
        """Writes the output.

        Raises:
            TooFewError: shards must go on, which are named, or all attempts are made.
            JobFolderError: the output is there already.
            OSError: the disk is full, or fails.
        """
        check_free(self.output, overwrite=self.overwrite)
        # Not the folder of a job, which may be there too.
        path = self.output.with_name(f"{PARTIAL}merge-{self.output.name}")
        progress = JobProgress(self.job)
        with JobFolder(path, progress) as folder:
            folder.lock()
            folder.clear()  # of what an interrupted merge left
            folder.open(format_of(self.job.suffix, self.job.separator).header)
            doubles = self._copy(folder)
            exhausted = all(reader.end is None for reader in self.readers)
            if progress.records < self.job.count and not exhausted:
                remove(path)
                raise self._unfinished(progress.records)
            folder.commit()
            publish(path, self.output)
        say(f"wrote {progress.records:,} records to {self.output}; {doubles:,} double between shards")
        if progress.records < self.job.count:
            raise too_few(self.job, progress.records)

    @property
    def end(self) -> int:
        """The number below which every attempt is made."""
        return min((reader.end for reader in self.readers if reader.end is not None), default=2**62)

    def _copy(self, folder: JobFolder) -> int:
        """Copies records until there are enough; returns how many were double."""
        count, dropped = self.job.count, 0
        last = max(r.progress.attempts * len(self.readers) for r in self.readers) + len(self.readers)
        bar = ProgressBar(count)
        with bar, Doubles(folder.path / DOUBLES) as doubles:
            for begin in range(0, min(self.end, last), WINDOW):
                bound = min(begin + WINDOW, self.end)
                records = sorted(record for reader in self.readers for record in reader.below(bound))
                if self.job.unique:
                    double = doubles.add([record.hash for record in records])
                    records = [one for one, is_double in zip(records, double, strict=True) if not is_double]
                    dropped += sum(double)
                records = records[: count - folder.progress.records]
                if records:
                    numbers, encoded, hashes = zip(*records, strict=True)
                    folder.append(numbers, encoded, hashes)
                bar.show(folder.progress.records, bound)
                if folder.progress.records == count:
                    break
        return dropped

    def _unfinished(self, records: int) -> TooFewError:
        """Which shards must go on, and how far."""
        count, made = self.job.count, self.end
        each = (made + 1) / (records + 1)
        needed = min(self.job.max_attempts, made + math.ceil((count - records) * each * MARGIN) + 1)
        behind = [r.progress.job.part for r in self.readers if r.end is not None and r.end < needed]
        names = ", ".join(map(str, behind))
        return TooFewError(
            f"the {made:,} attempts that all shards have made gave {records:,} of {count:,} records: run the "
            f"shards {names} again with --min-attempts {needed} and else the same options, then merge again"
        )


def open_shard(folder: Path) -> ShardReader:
    """Opens the folder of a shard.

    Raises:
        ConfigError: it is none, or not whole.
    """
    try:
        progress = read_progress(folder)
    except JobFolderError as error:
        raise ConfigError("shards", str(error)) from error
    if progress is None or progress.job.shards == 1:
        raise ConfigError("shards", f"have {folder}, which is no folder that --shard made")
    try:
        JobFolder(folder, progress).check(progress)
    except JobFolderError as error:
        reason = f"have {folder}, whose records are not all there: copy it again, or make it again"
        raise ConfigError("shards", reason) from error
    return ShardReader(folder, progress)


def whole(job: Job) -> Job:
    """The job of all shards together, as far as they must agree; their number stays."""
    return msgspec.structs.replace(job, shard=0)
