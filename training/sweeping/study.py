"""The study of a sweep: its trials in a database, which many processes share."""

import platform
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from charloom.errors import CharloomError
from charloom.printable import printable
from training.sweeping.config import PrunerName, StudyConfig
from training.sweeping.outcome import MARKS, Row
from training.sweeping.space import Choice, Space, Value, Variation
from training.sweeping.storage import Storage
from training.sweeping.trial import Trial, frozen_trial, place_of, row_of


class SweepError(CharloomError):
    """The sweep cannot go on with this text or these options, or found no model."""

    exit_code = 21


class Study:
    """All trials of one sweep; places, and not attempts at them, are what `StudyConfig.trials` counts."""

    def __init__(
        self, config: StudyConfig, space: Space, seed: int, storage: Storage, study: optuna.Study
    ) -> None:
        self.config = config
        self.space = space
        self.seed = seed
        self.storage = storage
        self.optuna = study

    def claim(self) -> Trial | None:
        """Claims the next trial for this process, after putting those of dead processes back into the queue.

        Not for two processes at once where they share a file of SQLite, which locks no single rows.

        Returns:
            The trial; None if none is left, or all that are left have processes.
        """
        with self.storage.errors():
            fail_stale_trials(self.optuna)
            places = self.places()
            waiting = any(trial.state == TrialState.WAITING for trial in places.values())
            if not waiting and len(places) >= self.config.trials:
                return None
            trial = self.optuna.ask()
            self.storage.heartbeat(self.optuna, trial.number)  # a trial without one never counts as stale
            place = place_of(frozen_trial(self.optuna, trial.number))
            if sum(other < place for other in self.places()) >= self.config.trials:
                trial.set_user_attr("surplus", True)  # another machine was faster
                self.optuna.tell(trial, state=TrialState.FAIL)
                return None
            # A sampler for each trial: so its values do not depend on the process that asks for them. A
            # multivariate one would choose before the trial has its number.
            self.optuna.sampler = TPESampler(seed=(self.seed + trial.number) % 2**32, multivariate=False)
            values = {name: suggest(trial, name, what) for name, what in self.space.variations.items()}
            trial.set_user_attr("machine", platform.node())
            return Trial(self.storage, self.optuna, trial, place, values)

    def running(self) -> int:
        """Number of places whose trial has a process, alive or not yet known to be dead."""
        with self.storage.errors():
            return sum(trial.state == TrialState.RUNNING for trial in self.places().values())

    def places(self) -> dict[int, FrozenTrial]:
        """The last attempt at each place."""
        trials = self.optuna.get_trials(deepcopy=False)
        return {place_of(trial): trial for trial in trials if "surplus" not in trial.user_attrs}

    def rows(self) -> list[Row]:
        """The rows of the sweep's table, by place."""
        with self.storage.errors():
            return [row_of(place, trial) for place, trial in sorted(self.places().items())]


def open_study(config: StudyConfig, space: Space, seed: int, folder: Path, terms: dict[str, Any]) -> Study:
    """Opens the study of the sweep in a folder, or begins one.

    Not for two processes at once where they share a file of SQLite.

    Args:
        config: its settings.
        space: what varies.
        seed: seeds the sampler.
        folder: the sweep's folder.
        terms: what all its trials have in common, as JSON values by name.

    Raises:
        StorageError: the database cannot be used.
        SweepError: it holds a sweep on other terms.
    """
    storage = Storage(config.storage, folder, config.stale_seconds)
    with storage.errors():
        study = optuna.create_study(
            storage=storage.optuna,
            study_name=config.study or printable(folder.resolve().name),
            pruner=pruner(config.pruner),
            load_if_exists=True,
        )
        before = study.user_attrs.get("terms")
        if before is None:
            study.set_user_attr("terms", terms)
    if before is not None:
        check_terms(before, terms, folder)
    return Study(config, space, seed, storage, study)


def check_terms(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raises SweepError unless the sweep goes on with the terms on which it began."""
    for name, value in now.items():
        if before.get(name, value) != value:
            raise SweepError(
                f"the sweep in {folder} has {name.replace('_', '-')} {before[name]}, not {value}: "
                "a sweep keeps its text, its options and what varies; choose another --out"
            )


def suggest(trial: optuna.Trial, name: str, variation: Variation) -> Value:
    """The value of one option, as the sampler chooses it."""
    if isinstance(variation, Choice):
        chosen = trial.suggest_categorical(name, variation.values)
        assert chosen is not None
        return chosen
    if variation.whole:
        low, high, step = int(variation.low), int(variation.high), int(variation.step or 1)
        return trial.suggest_int(name, low, high, step=step, log=variation.log)
    return trial.suggest_float(name, variation.low, variation.high, step=variation.step, log=variation.log)


def pruner(name: PrunerName) -> BasePruner:
    """Optuna's pruner of that name; both kinds compare trials at the marks of their runs."""
    if name == "hyperband":  # Li et al. 2018
        return HyperbandPruner(min_resource=1, max_resource=MARKS, reduction_factor=3)
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=MARKS // 9)
    return NopPruner()
