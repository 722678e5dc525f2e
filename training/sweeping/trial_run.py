"""The training of one trial: a run in a folder of its own, which can be stopped and resumed as any run.

Its losses are reported to the study at fixed shares of the run, and the study may end it early.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import TextColumn

from charloom.errors import CharloomError
from training.checkpoint import SaveError, read_pointer
from training.data.corpus import Corpus
from training.defaults import settled
from training.folder import RunFolder, RunFolderError
from training.hardware import Hardware, enough_memory
from training.interrupt import StoppedError
from training.options import Options
from training.reporting.config import ReportConfig
from training.reporting.reporter import Reporter
from training.reporting.tensorboard import TensorBoardError
from training.run import fresh, resumed, too_large
from training.sweeping.folder import SweepFolder
from training.sweeping.outcome import MARKS, Kind, TrialOutcome, trial_name
from training.sweeping.space import Space
from training.sweeping.storage import StorageError
from training.sweeping.table import values_line
from training.sweeping.trial import Trial
from training.trainer import Trainer

FATAL = (TensorBoardError, SaveError, RunFolderError, StorageError, StoppedError)
"""Errors that no values of a trial cause: they end the process, and the next one takes the trial up."""


class PrunedError(Exception):
    """The study ends a trial early, since others did better."""


class TrialReporter(Reporter):
    """Reports a trial as a run is reported, but for samples."""

    def __init__(self, name: str, config: ReportConfig) -> None:
        super().__init__(config=config)
        self.name = name
        self.bar.columns = (TextColumn(name, markup=False), *self.bar.columns)

    def say(self, line: str) -> None:
        """Writes a line."""
        super().say(f"{self.name}  {line}")

    def samples(self, samples: list[tuple[float, str]]) -> None:
        """Shows no samples: nobody reads those of twenty models."""


@dataclass(frozen=True)
class TrialRunner:
    """Trains trials of a sweep: what all of them have in common."""

    options: Options
    space: Space
    corpus: Corpus
    hardware: Hardware
    init_from: Path | None
    folder: SweepFolder

    def run(self, trial: Trial) -> None:
        """Trains one trial, and stores its outcome or hands it back.

        Raises:
            LostError: another process has taken it over.
            StoppedError: a signal asks to stop; the trial is saved.
            TensorBoardError, SaveError, RunFolderError, StorageError: nothing more can be written.
        """
        reporter = TrialReporter(trial_name(trial.place), self.options.report)
        try:
            with self.run_folder(trial) as folder:
                trial.set_folder(folder.path.name)
                outcome = self.outcome(trial, folder, reporter)
        except FATAL as error:
            with self.folder.lock():
                trial.hand_back()
            if isinstance(error, StoppedError):
                raise StoppedError(
                    f"stopped in {trial_name(trial.place)}; the same command goes on", error.exit_code - 128
                ) from error
            raise
        with self.folder.lock():
            trial.finish(outcome)
        reporter.say(outcome_line(outcome))

    def run_folder(self, trial: Trial) -> RunFolder:
        """The folder of a trial, locked: that of its place, unless another process still trains there.

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
            raise RunFolderError(f"{folder.path} holds a run that is not of this sweep: choose another --out")
        return folder

    def outcome(self, trial: Trial, folder: RunFolder, reporter: Reporter) -> TrialOutcome:
        """Trains, and gives the outcome.

        Raises:
            LostError, StoppedError, TensorBoardError, SaveError, RunFolderError, StorageError: as `run` says.
        """
        reporter.say(values_line(trial.values))
        trainer: Trainer | None = None
        try:
            options = settled(self.space.options(self.options, trial.values), self.corpus).options
            with enough_memory(lambda: too_large(options, self.corpus, self.hardware)):
                trainer = self.trainer(options, folder, reporter)
                trainer.watch = reports_to(trial)
                trainer.run()
        except PrunedError:
            assert trainer is not None
            trainer.show("ended early, since other trials did better")
            kind: Kind = "pruned"
        except FATAL:
            raise
        except CharloomError as error:
            keep_best(folder)
            return outcome_of(trainer, "failed", str(error))
        else:
            kind = "done"
        keep_best(folder)
        return outcome_of(trainer, kind)

    def trainer(self, options: Options, folder: RunFolder, reporter: Reporter) -> Trainer:
        """The trainer of a new run in a folder, or of the run that is there."""
        folder.open(overwrite=False)
        if not folder.last.is_file():
            return fresh(options, self.corpus, self.hardware, folder, reporter, self.init_from)
        trainer = resumed(options, self.corpus, self.hardware, folder, reporter)
        reporter.say(f"goes on at epoch {trainer.epoch:.2f}")
        return trainer


def reports_to(trial: Trial) -> Callable[[Trainer], None]:
    """A watcher of a trainer: reports each evaluation, and raises PrunedError if the study ends the trial."""

    def watch(trainer: Trainer) -> None:
        if trial.report(losses_at_marks(trainer)) and not trainer.finished():
            raise PrunedError

    return watch


def losses_at_marks(trainer: Trainer) -> dict[int, float]:
    """The loss at each mark of the run so far: that of the first evaluation from there on."""
    losses: dict[int, float] = {}
    for evaluation in trainer.progress.evaluations:
        share = min(1.0, trainer.schedule.progress(evaluation["step"], evaluation["seconds"]))
        for mark in range(len(losses) + 1, int(share * MARKS + 1e-9) + 1):
            losses[mark] = evaluation["validation_loss"]
    return losses


def keep_best(folder: RunFolder) -> None:
    """Leaves only the best checkpoint of a trial that is over, which is then also the last."""
    if folder.best.is_file():
        folder.point(folder.last, read_pointer(folder.best))
        folder.prune(keep=0)


def outcome_of(trainer: Trainer | None, kind: Kind, note: str = "") -> TrialOutcome:
    """The outcome of a trial; no trainer if it could not be made."""
    if trainer is None:
        return TrialOutcome(kind, note=note)
    loss = trainer.progress.best_loss
    return TrialOutcome(
        kind,
        loss=loss if math.isfinite(loss) else None,
        epoch=trainer.epoch,
        seconds=trainer.clock.elapsed(),
        parameters=trainer.model.parameter_count(),
        note=note,
    )


def outcome_line(outcome: TrialOutcome) -> str:
    """An outcome in words."""
    if outcome.note:
        return f"failed: {outcome.note}"
    assert outcome.loss is not None
    ended = "pruned, since others did better" if outcome.kind == "pruned" else "done"
    return f"{ended}: validation loss {outcome.loss:.4f} after {outcome.epoch:.2f} epochs"
