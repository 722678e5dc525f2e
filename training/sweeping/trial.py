"""One trial of a sweep, as the process that trains it sees it: reports, outcome and heartbeat.

A trial has a number of its own and a place, which is the number of the first attempt. If its process dies
or is stopped, Optuna's retry is a new trial at the same place, with the same values.
"""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from training.sweeping.outcome import MARKS, Kind, Outcome, Row, trial_name
from training.sweeping.space import Value
from training.sweeping.storage import Storage


class Trial:
    """A trial that this process trains."""

    def __init__(
        self,
        storage: Storage,
        study: optuna.Study,
        trial: optuna.Trial,
        place: int,
        values: Mapping[str, Value],
    ) -> None:
        self.storage = storage
        self.study = study
        self.optuna = trial
        self.place = place
        self.values = values
        self.number = trial.number
        self.reported: set[int] = set()

    def report(self, losses: Mapping[int, float]) -> bool:
        """Reports the losses at marks of the run.

        Returns:
            Whether other trials did so much better that this one may end.

        Raises:
            LostError: another process has taken the trial over.
        """
        with self.storage.errors():
            for mark, loss in losses.items():
                if mark not in self.reported:
                    self.optuna.report(loss, mark)
                    self.reported.add(mark)
            return bool(losses) and self.optuna.should_prune()

    def finish(self, outcome: Outcome) -> None:
        """Stores the outcome.

        Raises:
            LostError: another process has taken the trial over.
        """
        with self.storage.errors():
            self.optuna.set_user_attr("outcome", asdict(outcome))
            if outcome.kind == "done":
                self.study.tell(self.optuna, outcome.loss)
            else:  # to the sampler a failure is as good as the worst loss
                self.study.tell(self.optuna, state=TrialState.PRUNED)

    def set_folder(self, folder: str) -> None:
        """Stores the name of the trial's folder; raises LostError if another process has taken it over."""
        with self.storage.errors():
            self.optuna.set_user_attr("folder", folder)

    def hand_back(self) -> None:
        """Queues the trial for the next process, unless another one has taken it over already.

        Optuna's own retry counts as a death of the process, and this is none: so its record is copied.
        """
        with self.storage.errors():
            frozen = frozen_trial(self.study, self.number)
            if frozen.state.is_finished():
                return
            self.study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params=frozen.params,
                    distributions=frozen.distributions,
                    user_attrs={**frozen.user_attrs, "place": self.place},
                    system_attrs=frozen.system_attrs,
                )
            )
            self.study.tell(self.optuna, state=TrialState.FAIL)


class Heartbeat:
    """A thread that records again and again that a trial's process is alive, as a context.

    Optuna has such a thread inside `Study.optimize` alone, where a trial cannot be claimed under a lock, and
    there the first error of the database ends it.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()

    def _run(self) -> None:
        trial, storage = self.trial, self.trial.storage
        while True:
            # A database that is gone for a while misses some heartbeats, and no more.
            with contextlib.suppress(OptunaError, SQLAlchemyError):
                storage.heartbeat(trial.study, trial.number)
            if self.ended.wait(storage.interval):
                return


def frozen_trial(study: optuna.Study, number: int) -> FrozenTrial:
    """The trial of a number, as the database has it."""
    return study.get_trials(deepcopy=False)[number]


def place_of(trial: FrozenTrial) -> int:
    """Number of the first attempt at a trial."""
    retried = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    place: Any = trial.user_attrs.get("place", trial.number if retried is None else retried)
    return int(place)


def row_of(place: int, trial: FrozenTrial) -> Row:
    """The row of a place in the sweep's table, by the last attempt at it."""
    kinds: dict[TrialState, Kind] = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
    finished = trial.state in (
        TrialState.COMPLETE,
        TrialState.PRUNED,
    )  # a retry has its first try's attributes
    return Row(
        place=place,
        folder=trial.user_attrs.get("folder", trial_name(place)),
        values=trial.params,
        machine=trial.user_attrs.get("machine", ""),
        curve={mark / MARKS: loss for mark, loss in sorted(trial.intermediate_values.items())},
        outcome=Outcome(**trial.user_attrs["outcome"])
        if finished
        else Outcome(kinds.get(trial.state, "killed")),
    )
