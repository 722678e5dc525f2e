"""The sweep: trials one after another, until all processes together have made them all.

Every trial is a run in a folder of its own, which can be stopped and goes on as any run does. It
knows nothing of the command line and nothing of Optuna.
"""

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import TextColumn

from charloom.errors import CharloomError
from charloom.files import discard, write_atomic, write_folder_atomic
from training.checkpoint import MANIFEST, SaveError, read_pointer
from training.data.corpus import TOKENS, Corpus
from training.defaults import settled
from training.folder import LOCK, RunFolder, RunFolderError, spare_others, spare_text
from training.hardware import Hardware, enough_memory
from training.interrupt import Interrupt, StoppedError
from training.options import Options
from training.reporting.reporter import ReportConfig, Reporter
from training.reporting.tensorboard import TensorBoardError
from training.run import fresh, resumed, too_large
from training.sweeping.outcome import MARKS, Kind, Outcome, Row, best_of, trial_name
from training.sweeping.plot import plot
from training.sweeping.space import Space
from training.sweeping.study import Life, LostError, StorageError, Study, SweepError, Trial
from training.sweeping.table import csv_table, values_line
from training.trainer import Trainer

if sys.platform != "win32":
    import fcntl

LOOK_SECONDS = 0.5
"""How often to see whether there is something to do when all that is left has processes."""

PASSING = (TensorBoardError, SaveError, RunFolderError, StorageError, StoppedError)
"""What ends a trial that is not to blame for it, and with it this process."""


class PrunedError(Exception):
    """Others did better than this trial does."""


class TrialReporter(Reporter):
    """Says of one trial what a run says of itself, samples apart."""

    def __init__(self, name: str, config: ReportConfig) -> None:
        super().__init__(config=config)
        self.name = name
        self.bar.columns = (TextColumn(name, markup=False), *self.bar.columns)

    def say(self, line: str) -> None:
        """Writes a line."""
        super().say(f"{self.name}  {line}")

    def samples(self, samples: list[tuple[float, str]]) -> None:
        """Shows no samples: nobody reads those of twenty models."""


TABLE, PLOT = "table.csv", "plot.svg"
FILES = ("best", TOKENS, TABLE, PLOT)
"""What a sweep replaces in its folder, beside checkpoints and trials."""


class SweepFolder:
    """The folder of a sweep, which several processes may use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Within it, no other process that uses the folder is within it.

        Raises:
            RunFolderError: the folder cannot be made or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}") from error
        try:
            if sys.platform != "win32":
                with contextlib.suppress(OSError):  # of a file system that knows no locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def check(self, text: Path) -> None:
        """Raises RunFolderError if here is a run, or anything else, that the sweep would replace."""
        if RunFolder(self.path).last.is_file():
            raise RunFolderError(f"{self.path} holds a run: choose another --out for the sweep")
        spare_others(self.path, FILES)
        spare_text(self.path, FILES, text)

    def write(self, rows: list[Row], space: Space) -> None:
        """Writes the table and the plot, and has `best` name the best checkpoint that is here.

        Raises:
            SaveError: something of it cannot be written.
        """
        try:
            write_atomic(self.path / TABLE, csv_table(rows, list(space.variations)).encode())
            write_atomic(self.path / PLOT, plot(rows, space.variations).encode())
            if best := best_of([row for row in rows if self.has(row)]):
                self.copy_best(best)
        except OSError as error:
            raise SaveError(f"cannot write to {self.path}: {error.strerror}") from error

    def has(self, row: Row) -> bool:
        """Whether a trial came to its loss in this folder, and not, or not to the end, on another machine."""
        best = self.path / row.folder / "best"
        loss = row.outcome.loss
        return loss is not None and best.is_file() and f"_loss{loss:.4f}" in read_pointer(best).name

    def copy_best(self, row: Row) -> None:
        """Copies the best checkpoint of a trial here, in place of the one before."""
        best = RunFolder(self.path)
        source = read_pointer(RunFolder(self.path / row.folder).best)
        name = f"{row.name}_{source.name}"
        if not (self.path / name).is_dir():
            files = sorted(source.iterdir(), key=lambda file: file.name == MANIFEST)  # the manifest last
            write_folder_atomic(self.path / name, {file.name: file.read_bytes() for file in files})
        best.point(best.best, self.path / name)
        for other in self.path.glob("trial-*_epoch*_loss*"):
            if other.name != name:
                discard(other)


@dataclass
class Sweep:
    """One process of a sweep."""

    options: Options
    space: Space
    corpus: Corpus
    hardware: Hardware
    init_from: Path | None
    folder: SweepFolder
    study: Study
    reporter: Reporter

    def run(self) -> list[Row]:
        """Makes trials until all are made, and gives what became of each.

        Raises:
            StoppedError: a signal asked to stop; the running trial is saved, and goes on when the
                sweep does.
            StorageError, SaveError, RunFolderError: nothing more can be written.
            SweepError: no trial gave a model.
        """
        while trial := self.next_trial():
            try:
                with Life(trial):
                    self.make(trial)
            except LostError:
                self.reporter.say(f"{trial_name(trial.place)}  was taken over by another process")
            self.write()
        rows = self.write()
        if best_of(rows) is None:
            failed = next((row for row in rows if row.outcome.note), None)
            reason = f"; {failed.name}: {failed.outcome.note}" if failed else ""
            raise SweepError(f"none of {len(rows)} trials gave a model{reason}")
        return rows

    def next_trial(self) -> Trial | None:
        """Another trial to make, as soon as there is one; None when all are made."""
        said = False
        with Interrupt() as interrupt:
            while True:
                with self.folder.lock():
                    trial = self.study.claim()
                    others = 0 if trial else self.study.running()
                if interrupt.number:
                    if trial:
                        trial.hand_back()
                    raise StoppedError(
                        "stopped between two trials; the same command goes on", interrupt.number
                    )
                if trial or not others:
                    return trial
                if not said:
                    self.reporter.say(f"waiting for {others} trial{'s'[: others > 1]} of other processes")
                    said = True
                time.sleep(LOOK_SECONDS)

    def make(self, trial: Trial) -> None:
        """Makes one trial, whatever becomes of it.

        Raises:
            LostError: another process has taken it over.
            StoppedError, StorageError, SaveError, RunFolderError: as `run` says.
        """
        reporter = TrialReporter(trial_name(trial.place), self.options.report)
        try:
            with self.run_folder(trial) as folder:
                trial.is_trained_in(folder.path.name)
                outcome = self.outcome(trial, folder, reporter)
        except PASSING as error:
            with self.folder.lock():
                trial.hand_back()
            if isinstance(error, StoppedError):
                raise StoppedError(
                    f"stopped in {trial_name(trial.place)}; the same command goes on", error.exit_code - 128
                ) from error
            raise
        with self.folder.lock():
            trial.finish(outcome)
        reporter.say(verdict(outcome))

    def run_folder(self, trial: Trial) -> RunFolder:
        """The folder of a trial, locked: that of its place, unless somebody is still training there.

        Raises:
            RunFolderError: it cannot be written to, or has a run that is none of this sweep's.
        """
        folder = RunFolder(self.folder.path / trial_name(trial.place))
        try:
            folder.lock()
        except RunFolderError:
            if trial.number == trial.place:
                raise
            folder = RunFolder(self.folder.path / trial_name(trial.number))
            folder.lock()
        if trial.number == trial.place and folder.last.is_file():
            raise RunFolderError(
                f"{folder.path} holds a run that this sweep knows nothing of: choose another --out"
            )
        return folder

    def outcome(self, trial: Trial, folder: RunFolder, reporter: Reporter) -> Outcome:
        """Trains, and says what came of it.

        Raises:
            LostError, StoppedError, StorageError, SaveError, RunFolderError: as `make` says.
        """
        reporter.say(values_line(trial.values))
        trainer: Trainer | None = None
        try:
            options = settled(self.space.options(self.options, trial.values), self.corpus).options
            with enough_memory(lambda: too_large(options, self.corpus, self.hardware)):
                trainer = self.trainer(options, folder, reporter)
                trainer.watch = watching(trial)
                trainer.run()
        except PrunedError:
            assert trainer is not None
            trainer.show("ended early, since other trials did better")
            kind: Kind = "pruned"
        except PASSING:
            raise
        except CharloomError as error:
            keep_best(folder)
            return outcome_of(trainer, "failed", str(error))
        else:
            kind = "done"
        keep_best(folder)
        return outcome_of(trainer, kind)

    def trainer(self, options: Options, folder: RunFolder, reporter: Reporter) -> Trainer:
        """What trains in a folder: a new run, or the one that is there."""
        folder.open(overwrite=False)
        if not folder.last.is_file():
            return fresh(options, self.corpus, self.hardware, folder, reporter, self.init_from)
        trainer = resumed(options, self.corpus, self.hardware, folder, reporter)
        reporter.say(f"goes on at epoch {trainer.epoch:.2f}")
        return trainer

    def write(self) -> list[Row]:
        """Brings the table, the plot and the best checkpoint up to date, and gives every row."""
        with self.folder.lock():
            rows = self.study.rows()
            self.folder.write(rows, self.space)
        return rows


def watching(trial: Trial) -> Callable[[Trainer], None]:
    """What tells the study of each evaluation, and ends the trial if the study says so."""

    def watch(trainer: Trainer) -> None:
        if trial.report(losses_at_marks(trainer)) and not trainer.finished():
            raise PrunedError

    return watch


def losses_at_marks(trainer: Trainer) -> dict[int, float]:
    """The loss at each mark of the run that is behind: that of the first evaluation from there on."""
    losses: dict[int, float] = {}
    for evaluation in trainer.progress.evaluations:
        share = min(1.0, trainer.schedule.progress(evaluation["step"], evaluation["seconds"]))
        for mark in range(len(losses) + 1, int(share * MARKS + 1e-9) + 1):
            losses[mark] = evaluation["validation_loss"]
    return losses


def keep_best(folder: RunFolder) -> None:
    """Leaves of a trial that is over only its best checkpoint, which is now also the last."""
    if folder.best.is_file():
        folder.point(folder.last, read_pointer(folder.best))
        folder.prune(keep=0)


def outcome_of(trainer: Trainer | None, kind: Kind, note: str = "") -> Outcome:
    """What became of a trial; no trainer if it could not be made."""
    if trainer is None:
        return Outcome(kind, note=note)
    loss = trainer.progress.best_loss
    return Outcome(
        kind,
        loss=loss if math.isfinite(loss) else None,
        epoch=trainer.epoch,
        seconds=trainer.clock.elapsed(),
        parameters=trainer.model.parameter_count(),
        note=note,
    )


def verdict(outcome: Outcome) -> str:
    """What became of a trial, in words."""
    if outcome.note:
        return f"failed: {outcome.note}"
    assert outcome.loss is not None
    ended = "pruned, since others did better" if outcome.kind == "pruned" else "done"
    return f"{ended}: validation loss {outcome.loss:.4f} after {outcome.epoch:.2f} epochs"
