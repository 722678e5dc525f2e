"""One process of a sweep: it makes trials one after another until all processes have made them all."""

import time
from dataclasses import dataclass

from training.interrupt import Interrupt, StoppedError
from training.reporting.reporter import Reporter
from training.sweeping.outcome import Row, best_of, trial_name
from training.sweeping.storage import LostError
from training.sweeping.study import Study, SweepError
from training.sweeping.trial import Heartbeat, Trial
from training.sweeping.trial_run import TrialRunner

POLL_SECONDS = 0.5
"""Seconds between two looks for a trial while all that are left have processes."""


@dataclass(frozen=True)
class Sweep:
    """One process of a sweep."""

    study: Study
    runner: TrialRunner
    reporter: Reporter

    def run(self) -> list[Row]:
        """Makes trials until all are made.

        Returns:
            The row of each trial.

        Raises:
            StoppedError: a signal asks to stop; the running trial is saved, and goes on when the sweep does.
            TensorBoardError, SaveError, RunFolderError, StorageError: nothing more can be written.
            SweepError: no trial gave a model.
        """
        while trial := self.next_trial():
            try:
                with Heartbeat(trial):
                    self.runner.run(trial)
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
        """Waits for another trial to make; None when all are made."""
        said = False
        with Interrupt() as interrupt:
            while True:
                with self.runner.folder.lock():
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
                time.sleep(POLL_SECONDS)

    def write(self) -> list[Row]:
        """Brings the table, the plot and the best checkpoint up to date, and gives every row."""
        folder = self.runner.folder
        with folder.lock():
            rows = self.study.rows()
            folder.write(rows, self.study.space)
        return rows
