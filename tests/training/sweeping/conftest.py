"""Studies on a file of SQLite, as two processes open them, and which need not outlive the machine's power."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from training.sweeping.space import Space
from training.sweeping.storage import DATABASE
from training.sweeping.study import Study, StudyConfig, open_study

SPACE = Space.parse(["cells=16,32", "learning-rate=1e-4..1e-2:log"])


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Has SQLite wait for no disk."""

    def connected(connection: Any, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Study]:
    """Opens the same study anew, with some of its settings changed."""

    def study(terms: dict[str, Any] | None = None, **config: Any) -> Study:
        return open_study(StudyConfig(**config), SPACE, 1, tmp_path, terms or {"text": "abc"})

    return study


def stop_heartbeat(number: int, folder: Path, seconds: int = 3600) -> None:
    """Makes the last heartbeat of a trial in a sweep's folder so many seconds older than it is."""
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        changed = database.execute(
            "update trial_heartbeats set heartbeat = datetime(heartbeat, ?) "
            "where trial_id = (select trial_id from trials where number = ?)",
            (f"-{seconds} seconds", number),
        ).rowcount
    assert changed == 1
