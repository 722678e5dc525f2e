"""The run of a job: attempts are made, judged and written, until there are enough records."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from charloom.errors import CharloomError, require
from charloom.files import remove
from charloom.options import choose_seed
from serving.offline.attempt import Attempt
from serving.offline.config import CountConfig
from serving.offline.doubles import Doubles
from serving.offline.folder import (
    DOUBLES,
    JobFolder,
    JobFolderError,
    JobProgress,
    job_folder,
    read_progress,
)
from serving.offline.formats import format_of
from serving.offline.index import hashes_of, read_rows
from serving.offline.job import Job, JobMismatchError
from serving.offline.judge import Judge, Judged
from serving.offline.output import check_free, publish, unpublished
from serving.offline.parts import check_parquet
from serving.offline.progress_bar import ProgressBar, say
from serving.offline.source import AttemptSource
from serving.offline.tally import Fate

BLOCK = 1024
"""Attempts that are judged together, at the most."""
COMMIT_SECONDS = 5.0
"""Seconds of work that an interruption may cost."""


class TooFewError(CharloomError):
    """There are fewer records than were asked for."""

    exit_code = 17


class OfflineRun:
    """Makes the output of a job, or of a shard the folder that `charloom merge` reads."""

    def __init__(self, source: AttemptSource, job: Job, config: CountConfig, output: Path) -> None:
        """Prepares a run.

        Args:
            source: makes the attempts.
            job: what they are.
            config: how far it goes, and what it may replace.
            output: the file of the records, or the folder of parts.

        Raises:
            ConfigError: the model has no novelty filter, and a record must be novel.
            PartsError: pyarrow is missing for Parquet.
        """
        require(not job.novel or source.novelty is not None, "novel", source.lacks_novelty)
        require(
            config.min_attempts <= job.max_attempts,
            "min_attempts",
            f"must be at most {job.max_attempts:,}, the attempts that --max-attempts allows",
        )
        if job.suffix == ".parquet":
            check_parquet()
        self.source = source
        self.job = job
        self.config = config
        self.output = output
        self.path = job_folder(output, job.part)
        self.written = format_of(job.suffix, job.separator)
        self.delivered = 0
        """Tokens of the records that this run delivered."""

    def run(self) -> None:
        """Goes on with the job until its output is whole.

        Raises:
            JobFolderError: the output or the folder is of something else, or in use.
            JobMismatchError: the job there was begun with other options.
            TooFewError: all attempts are made; what there is has been written.
            OSError: the disk is full, or fails; the same command goes on once it can.
        """
        whole = self.job.shards == 1
        with JobFolder(self.path, JobProgress(self.job)) as folder:
            folder.lock()
            progress = folder.progress = self._progress(folder)
            made = unpublished(self.path, self.output).exists()
            if whole and (not progress.done or made):
                check_free(self.output, overwrite=self.config.overwrite)
            if not self._enough(progress):
                self._go_on(folder)
            if whole:
                publish(self.path, self.output)
        self._tell(progress)

    def _progress(self, folder: JobFolder) -> JobProgress:
        """How far the job has come; a new one if there is none, or one that may be replaced."""
        try:
            progress = read_progress(self.path)
            if progress is None:
                return folder.progress
            self.job.check_same(progress.job, str(self.path))
            if self.job.shards > 1 or not progress.done:  # else the output may have what the folder had
                folder.check(progress)
        except (JobFolderError, JobMismatchError):
            if not self.config.overwrite:
                raise
            folder.clear()
            return folder.progress
        if progress.attempts:
            say(f"going on after {progress.records:,} records")
        return progress

    def _enough(self, progress: JobProgress) -> bool:
        """Whether a job is done, if nobody wants more of a shard."""
        return progress.done and progress.attempts >= self._least

    @property
    def _least(self) -> int:
        """Attempts that a shard goes on to, counted in its own."""
        return len(self.job.part.numbers(self.config.min_attempts))

    def _go_on(self, folder: JobFolder) -> None:
        """Makes attempts until there are enough; says how to go on where that is interrupted."""
        try:
            self._make(folder)
        except BaseException as error:
            if isinstance(error, CharloomError):  # of the source, between two blocks
                folder.commit()
            say("the same command goes on from here")
            raise

    def _make(self, folder: JobFolder) -> None:
        """Makes attempts until there are enough."""
        progress, job = folder.progress, self.job
        progress.done = False
        written = self.written
        with ExitStack() as stack:
            folder.open(written.header)
            doubles = stack.enter_context(Doubles(self.path / DOUBLES)) if job.unique else None
            if doubles is not None:
                for rows in read_rows(folder.index, progress.records):
                    doubles.add(hashes_of(rows))
            judge = Judge(
                written,
                doubles,
                self.config.pattern,
                self.source.novelty if job.novel else None,
                job.prompt,
                must_end=self.source.can_end,
            )
            bar = stack.enter_context(ProgressBar(job.records_here, progress.records))
            committed = time.monotonic()
            for block in self._blocks(progress, stack):
                progress.done = self._take(folder, judge.judge(block))
                bar.show(progress.records, progress.attempts)
                if progress.done:
                    break
                if time.monotonic() - committed >= COMMIT_SECONDS:
                    folder.commit()
                    committed = time.monotonic()
            progress.done = True
            folder.commit()
        remove(self.path / DOUBLES)

    def _blocks(self, progress: JobProgress, stack: ExitStack) -> Iterator[list[Attempt]]:
        """Attempts in order, so many at a time as are worth it."""
        numbers = self.job.part.numbers(self.job.max_attempts)[progress.attempts :]
        source = stack.enter_context(closing(self.source.attempts(numbers)))
        block: list[Attempt] = []
        for attempts in source:
            block += attempts
            if len(block) >= min(BLOCK, max(1, self.job.records_here - progress.records)):
                yield block
                block = []
        if block:
            yield block

    def _take(self, folder: JobFolder, judged: Sequence[Judged]) -> bool:
        """Writes records until there are enough, and returns whether there are."""
        progress, job = folder.progress, self.job
        records, taken, done = progress.records, 0, False
        for one in judged:
            taken += 1
            records += one.fate is Fate.DELIVERED
            done = records >= job.records_here and progress.attempts + taken >= self._least
            if done:
                break
        kept = [one for one in judged[:taken] if one.fate is Fate.DELIVERED]
        progress.tally.add([one.fate for one in judged[:taken]])
        progress.attempts += taken
        if kept:
            folder.append(
                [one.attempt.number for one in kept],
                [self.written.encode(one.attempt.text) for one in kept],
                [one.hash for one in kept],
            )
        tokens = sum(one.attempt.tokens for one in kept)
        progress.tokens += tokens
        self.delivered += tokens
        return done

    def _tell(self, progress: JobProgress) -> None:
        """Says what became of the attempts.

        Raises:
            TooFewError: there are too few records.
        """
        say(progress.tally.line())
        if self.source.computed:
            wasted = 1 - self.delivered / self.source.computed
            say(f"{self.delivered:,} tokens of records; {wasted:.1%} of the tokens computed were wasted")
        if self.job.shards > 1:
            say(f"wrote {progress.records:,} records of shard {self.job.part} to {self.path}")
            return
        say(f"wrote {progress.records:,} records to {self.output}")
        if progress.records < self.job.count:
            raise too_few(self.job, progress.records)


def first_seed(seed: int | None, output: Path, config: CountConfig) -> int:
    """The seed of attempt 0: the one that is given, else that of the job to go on with, else a new one."""
    if seed is not None:
        return seed
    try:
        progress = read_progress(job_folder(output, config.part))
    except JobFolderError:
        if not config.overwrite:
            raise
        progress = None
    require(progress is not None or not config.shard, "seed", "is needed by shards, which must share it")
    if progress is not None:
        return int(progress.job.options["seed"])
    chosen = choose_seed()
    say(f"seed {chosen}")
    return chosen


def too_few(job: Job, records: int) -> TooFewError:
    """What to say where all attempts are made."""
    return TooFewError(
        f"all {job.max_attempts:,} attempts gave {records:,} of {job.count:,} records: raise --max-attempts, "
        "or drop less"
    )
