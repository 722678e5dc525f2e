"""The study of a sweep: its trials in a database, which many processes share.

A trial has a place, the number of the first attempt at it. If its process dies or is stopped, a new
attempt with the same values waits for whoever comes next: places are what `--trials` counts. Nothing
else here knows Optuna, and this file knows nothing of training.
"""

import contextlib
import platform
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, UpdateFinishedTrialError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from charloom.errors import CharloomError, how_to_install, require
from charloom.printable import printable
from training.sweeping.outcome import MARKS, Kind, Outcome, Row, trial_name
from training.sweeping.space import Choice, Space, Value, Variation

PrunerName = Literal["median", "hyperband", "none"]

DATABASE = "sweep.db"
PATIENCE_SECONDS = 60
"""How long a process waits for another one that writes to SQLite."""
MOST_TRIES = 10
"""Times to try whether the tables of a new database are there, while others make them."""
MOST_KILLS = 3
"""Deaths of its process after which a trial is given up: it may well be their cause."""


class StorageError(CharloomError):
    """The sweep's database cannot be used."""

    exit_code = 20


class SweepError(CharloomError):
    """The sweep cannot go on with this text or these options, or found nothing."""

    exit_code = 21


class LostError(Exception):
    """Another process took a trial over, since it had heard nothing of ours for too long."""


@dataclass(frozen=True)
class StudyConfig:
    """How trials are chosen, and where they are kept."""

    trials: int = 20
    """Trials in total, over all processes."""
    pruner: PrunerName = "median"
    """What ends trials early that do worse than others did: median, hyperband, or none."""
    storage: str = ""
    """URL of the database, such as postgresql+psycopg://user@host/name; by default a file in the folder."""
    study: str = ""
    """Name of the sweep in the database; by default that of the folder."""
    stale_seconds: int = 60
    """Seconds without a sign of life after which a trial's process counts as dead."""

    def __post_init__(self) -> None:
        require(self.trials >= 1, "trials", "must be at least 1")
        names = get_args(PrunerName)
        require(self.pruner in names, "pruner", f"must be one of {', '.join(names)}")
        require(self.stale_seconds >= 2, "stale-seconds", "must be at least 2")


class Trial:
    """One attempt at a place, which this process makes."""

    def __init__(self, study: "Study", trial: optuna.Trial, values: Mapping[str, Value]) -> None:
        self.study = study
        self.optuna = trial
        self.values = values
        self.number = trial.number
        self.place = first(trial)
        self.reported: set[int] = set()

    def report(self, losses: Mapping[int, float]) -> bool:
        """Tells the losses at marks of the run; gives whether others did so much better that it may end.

        Raises:
            LostError: another process has it now.
        """
        with self.study.told():
            for mark, loss in losses.items():
                if mark not in self.reported:
                    self.optuna.report(loss, mark)
                    self.reported.add(mark)
            return bool(losses) and self.optuna.should_prune()

    def finish(self, outcome: Outcome) -> None:
        """Writes down how it ended.

        Raises:
            LostError: another process has it now.
        """
        with self.study.told():
            self.optuna.set_user_attr("outcome", asdict(outcome))
            if outcome.kind == "done":
                self.study.optuna.tell(self.optuna, outcome.loss)
            else:  # a failure is as good as the worst loss to whoever chooses the next values
                self.study.optuna.tell(self.optuna, state=TrialState.PRUNED)

    def is_trained_in(self, folder: str) -> None:
        """Notes the name of its folder; raises LostError if another process has it now."""
        with self.study.told():
            self.optuna.set_user_attr("folder", folder)

    def hand_back(self) -> None:
        """Leaves it to whoever comes next, unless somebody has taken it over already."""
        with self.study.told():
            frozen = self.study.optuna.trials[self.number]
            if frozen.state.is_finished():
                return
            repeat(self.study.optuna, frozen, frozen.user_attrs.get("kills", 0))
            self.study.optuna.tell(self.optuna, state=TrialState.FAIL)


class Life:
    """Within it, the database hears again and again that a trial's process lives."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)

    def __enter__(self) -> "Life":
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()

    def beat(self) -> None:
        """Writes signs of life until it is over; a database that is gone for a while may miss some."""
        storage = self.trial.study.storage
        while True:
            with contextlib.suppress(OptunaError, SQLAlchemyError):
                storage.record_heartbeat(self.trial.optuna._trial_id)
            if self.ended.wait(interval(self.trial.study.config)):
                return


class Study:
    """All trials of one sweep."""

    def __init__(
        self, config: StudyConfig, space: Space, seed: int, storage: RDBStorage, study: optuna.Study
    ) -> None:
        self.config = config
        self.space = space
        self.seed = seed
        self.storage = storage
        self.optuna = study

    def claim(self) -> Trial | None:
        """The next trial for this process to make; None if none is left, or all that are have processes.

        Not for two processes at once where they share a file of SQLite, which locks no single rows.
        """
        with self.told():
            fail_stale_trials(self.optuna)
            places = self.places()
            waiting = any(trial.state == TrialState.WAITING for trial in places.values())
            if not waiting and len(places) >= self.config.trials:
                return None
            trial = self.optuna.ask()
            self.storage.record_heartbeat(trial._trial_id)  # who never lived can not be found dead
            place = first(trial)
            if sum(other < place for other in self.places()) >= self.config.trials:
                trial.set_user_attr("surplus", True)  # another machine was faster
                self.optuna.tell(trial, state=TrialState.FAIL)
                return None
            # A sampler for each trial: so what it chooses does not hang on which process it is in. A
            # multivariate one would choose before the trial has its number.
            self.optuna.sampler = TPESampler(seed=(self.seed + trial.number) % 2**32, multivariate=False)
            values = {name: suggest(trial, name, what) for name, what in self.space.variations.items()}
            trial.set_user_attr("machine", platform.node())
            return Trial(self, trial, values)

    def running(self) -> int:
        """Number of the places whose trial some process is making, or has died of."""
        with self.told():
            return sum(trial.state == TrialState.RUNNING for trial in self.places().values())

    def places(self) -> dict[int, FrozenTrial]:
        """The last attempt at each place."""
        trials = self.optuna.get_trials(deepcopy=False)
        counting = [trial for trial in trials if "surplus" not in trial.user_attrs]
        return {first(trial): trial for trial in counting}

    def rows(self) -> list[Row]:
        """How every place stands."""
        with self.told():
            return [row(place, trial) for place, trial in sorted(self.places().items())]

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Within it, errors of the database are ours."""
        try:
            yield
        except UpdateFinishedTrialError as error:
            raise LostError from error
        except (OptunaError, SQLAlchemyError) as error:
            raise StorageError(unusable(self.config, error)) from error


def open_study(config: StudyConfig, space: Space, seed: int, folder: Path, terms: dict[str, Any]) -> Study:
    """The study of the sweep in a folder, as far as it has come, or a new one.

    `terms` is what all its trials have in common, as JSON has it. Not for two processes at once where
    they share a file of SQLite.

    Raises:
        StorageError: the database cannot be used.
        SweepError: it holds a sweep on other terms.
    """
    optuna.logging.disable_default_handler()
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage")  # `Life` sees to that
    try:
        storage = open_storage(config, folder)
        found = optuna.create_study(
            storage=storage,
            study_name=config.study or printable(folder.resolve().name),
            pruner=pruner(config.pruner),
            load_if_exists=True,
        )
        before = found.user_attrs.get("terms")
        if before is None:
            found.set_user_attr("terms", terms)
    except ImportError as error:
        hint = f"install its driver; PostgreSQL's comes with {how_to_install('sweep-postgresql')}"
        raise StorageError(f"{unusable(config, error)}: {hint}") from error
    except (OptunaError, SQLAlchemyError, ValueError) as error:
        raise StorageError(unusable(config, error)) from error
    if before is not None:
        agree(before, terms, folder)
    return Study(config, space, seed, storage, found)


def open_storage(config: StudyConfig, folder: Path) -> RDBStorage:
    """The database, with Optuna's tables in it."""
    for _ in range(MOST_TRIES):
        with contextlib.suppress(IntegrityError, ProgrammingError):  # others made the tables meanwhile
            return try_storage(config, folder)
        time.sleep(0.2)
    return try_storage(config, folder)


def try_storage(config: StudyConfig, folder: Path) -> RDBStorage:
    """The same, if nobody else is making the tables at this moment."""
    return RDBStorage(
        config.storage or f"sqlite:///{quote(str(folder / DATABASE))}",
        engine_kwargs={} if config.storage else {"connect_args": {"timeout": PATIENCE_SECONDS}},
        heartbeat_interval=interval(config),
        grace_period=config.stale_seconds,
        heartbeat_stale_trial_callback=died,
    )


def agree(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raises SweepError unless the sweep goes on with the terms on which it began."""
    for name, value in now.items():
        if before.get(name, value) != value:
            raise SweepError(
                f"the sweep in {folder} has {name.replace('_', '-')} {before[name]}, not {value}: "
                "a sweep keeps its text, its options and what varies; choose another --out"
            )


def died(study: optuna.Study, trial: FrozenTrial) -> None:
    """Has a trial made again whose process has died, unless that happens every time."""
    kills = trial.user_attrs.get("kills", 0) + 1
    if kills < MOST_KILLS:
        repeat(study, trial, kills)


def repeat(study: optuna.Study, trial: FrozenTrial, kills: int) -> None:
    """Has a trial made again, with the same values."""
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"first": first(trial), "kills": kills},
        )
    )


def first(trial: FrozenTrial | optuna.Trial) -> int:
    """Number of the first attempt at a trial's place."""
    number: int = trial.user_attrs.get("first", trial.number)
    return number


def suggest(trial: optuna.Trial, name: str, variation: Variation) -> Value:
    """A value of one option."""
    if isinstance(variation, Choice):
        chosen = trial.suggest_categorical(name, variation.values)
        assert chosen is not None
        return chosen
    if variation.whole:
        low, high, step = int(variation.low), int(variation.high), int(variation.step or 1)
        return trial.suggest_int(name, low, high, step=step, log=variation.log)
    return trial.suggest_float(name, variation.low, variation.high, step=variation.step, log=variation.log)


def pruner(name: PrunerName) -> BasePruner:
    """What ends trials early."""
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=MARKS, reduction_factor=3)
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=MARKS // 9)
    return NopPruner()


def interval(config: StudyConfig) -> int:
    """Seconds between two signs of life."""
    return max(1, config.stale_seconds // 4)


def row(place: int, trial: FrozenTrial) -> Row:
    """How a place stands, by the last attempt at it."""
    outcome = trial.user_attrs.get("outcome")
    kinds: dict[TrialState, Kind] = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
    return Row(
        place=place,
        folder=trial.user_attrs.get("folder", trial_name(place)),
        values=trial.params,
        machine=trial.user_attrs.get("machine", ""),
        curve={mark / MARKS: loss for mark, loss in sorted(trial.intermediate_values.items())},
        outcome=Outcome(**outcome) if outcome else Outcome(kinds.get(trial.state, "killed")),
    )


def unusable(config: StudyConfig, error: Exception) -> str:
    """What to say of a database that cannot be used, without its password."""
    try:
        name = make_url(config.storage).render_as_string() if config.storage else "of the sweep"
    except ArgumentError:
        name = "named by --storage"
    reason = str(error.__cause__ or error).strip().partition("\n")[0]
    return f"the database {name} cannot be used: {reason}"
