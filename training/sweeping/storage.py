"""The database of a sweep: Optuna's tables in SQLite or PostgreSQL, and what its errors mean."""

import contextlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from charloom.errors import CharloomError, how_to_install

DATABASE = "sweep.db"
LOCK_SECONDS = 60
"""Seconds that a process waits while another one writes to SQLite."""
MAX_OPENINGS = 10
"""Attempts to open a new database while other processes make its tables."""
MAX_RETRIES = 2
"""Times that a trial is retried after its process died; dying a third time, it may well be the cause."""


class StorageError(CharloomError):
    """The sweep's database cannot be used."""

    exit_code = 20


class LostError(Exception):
    """Another process has taken a trial over, since its heartbeat had been missing for too long."""


class Storage:
    """The database, open.

    Args:
        url: its address, as SQLAlchemy writes it; empty for a file of SQLite in the folder.
        folder: the sweep's folder.
        stale_seconds: seconds without a heartbeat after which a trial's process counts as dead.

    Raises:
        StorageError: it cannot be used.
    """

    def __init__(self, url: str, folder: Path, stale_seconds: int) -> None:
        optuna.logging.disable_default_handler()
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage")  # it is sent by `Heartbeat`
        self.url = url
        self.interval = max(1, stale_seconds // 4)
        """Seconds between two heartbeats."""
        with self.errors():
            self.optuna = self._open(folder, stale_seconds)

    def _open(self, folder: Path, stale_seconds: int) -> RDBStorage:
        def attempt() -> RDBStorage:
            return RDBStorage(
                self.url or f"sqlite:///{quote(str(folder / DATABASE))}",
                engine_kwargs={} if self.url else {"connect_args": {"timeout": LOCK_SECONDS}},
                heartbeat_interval=self.interval,
                grace_period=stale_seconds,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MAX_RETRIES),
            )

        for _ in range(MAX_OPENINGS - 1):
            with contextlib.suppress(IntegrityError, ProgrammingError):  # another process made the tables
                return attempt()
            time.sleep(0.2)
        return attempt()

    def heartbeat(self, study: optuna.Study, number: int) -> None:
        """Records that the process of a trial is alive."""
        trial_id = self.optuna.get_trial_id_from_study_id_trial_number(
            self.optuna.get_study_id_from_name(study.study_name), number
        )
        self.optuna.record_heartbeat(trial_id)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raises the database's errors in this block as LostError or StorageError."""
        try:
            yield
        except UpdateFinishedTrialError as error:
            raise LostError from error
        except ImportError as error:
            hint = f"install its driver; PostgreSQL's comes with {how_to_install('sweep-postgresql')}"
            raise StorageError(f"{self._unusable(error)}: {hint}") from error
        except (OptunaError, SQLAlchemyError, ValueError) as error:
            raise StorageError(self._unusable(error)) from error

    def _unusable(self, error: Exception) -> str:
        """The message for a database that cannot be used, without its password."""
        try:
            name = make_url(self.url).render_as_string() if self.url else "of the sweep"
        except ArgumentError:
            name = "named by --storage"
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        return f"the database {name} cannot be used: {reason}"
