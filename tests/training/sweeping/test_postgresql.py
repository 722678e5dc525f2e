"""A sweep whose machines share nothing but a database: a real PostgreSQL."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from training.sweeping.outcome import TrialOutcome
from training.sweeping.space import Space
from training.sweeping.storage import StorageError
from training.sweeping.study import StudyConfig, open_study
from training.sweeping.trial import Trial

SPACE = Space.parse(["cells=8,16", "learning-rate=1e-3..1e-1:log"])

pytestmark = pytest.mark.xdist_group("postgresql")


def nobody() -> str | None:
    """Whom to be in place of root, which PostgreSQL refuses to run as."""
    return "nobody" if os.geteuid() == 0 else None


@pytest.fixture(scope="module")
def database(tool: Callable[[str], str]) -> Iterator[str]:
    """The address of an empty database."""
    initdb, postgres = tool("initdb"), tool("postgres")
    folder = Path(tempfile.mkdtemp(prefix="charloom-postgresql-"))
    user = nobody()
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"
    command = [initdb, "--pgdata", data, "--username", "charloom", "--auth", "trust", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, user=user, cwd=folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off"]
    server = subprocess.Popen(
        [postgres, "-D", data, *(word for setting in settings for word in ("-c", setting))],
        stderr=subprocess.DEVNULL,
        user=user,
        cwd=folder,
    )
    try:
        yield ready(f"postgresql+psycopg://charloom@127.0.0.1:{port}/postgres", server)
    finally:
        server.send_signal(signal.SIGINT)  # which waits for no clients
        server.wait()
        shutil.rmtree(folder)


def ready(url: str, server: "subprocess.Popen[bytes]") -> str:
    """The address, once somebody is there and answers."""
    engine = create_engine(url)
    for _ in range(600):
        assert server.poll() is None
        with suppress(OperationalError), engine.connect():  # else it still starts up
            return url
        time.sleep(0.1)
    raise AssertionError("PostgreSQL does not answer")


@pytest.mark.slow
def test_machines_that_share_only_a_database_make_so_many_trials_and_no_more(database, tmp_path):
    def machine(number: int) -> list[Trial]:
        folder = tmp_path / str(number)
        folder.mkdir()
        config = StudyConfig(trials=10, storage=database, study="crowd")
        study = open_study(config, SPACE, 1, folder, {"text": "abc"})
        made = []
        while trial := study.claim():
            trial.report({1: 2.0})
            trial.finish(TrialOutcome("done", 1.0))
            made.append(trial)
        return made

    with ThreadPoolExecutor(8) as pool:
        made = [trial for trials in pool.map(machine, range(8)) for trial in trials]
    assert len(made) == 10
    assert len({trial.place for trial in made}) == 10
    assert len({trial.values["learning-rate"] for trial in made}) == 10


@pytest.mark.slow
def test_what_is_handed_back_is_taken_up_once(database, tmp_path):
    config = StudyConfig(trials=4, storage=database, study="handed back")
    studies = [open_study(config, SPACE, 1, tmp_path, {"text": "abc"}) for _ in range(8)]
    trials = [studies[0].claim() for _ in range(4)]
    for trial in trials:
        trial.hand_back()
    with ThreadPoolExecutor(8) as pool:
        again = [trial for trial in pool.map(lambda study: study.claim(), studies) if trial]
    assert sorted(trial.place for trial in again) == [trial.place for trial in trials]


@pytest.mark.slow
def test_two_sweeps_at_once(database, text, small, tmp_path):
    def process(number: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "charloom", "sweep", text, "--out", tmp_path / str(number)]
        command += ["--storage", database, "--study", "both", "--trials", "5", *small()]
        command += ["--vary", "cells=8,16", "--vary", "learning-rate=1e-3..1e-1:log"]
        return subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    processes = [process(number) for number in range(2)]
    said = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    folders = sorted(path.name for path in tmp_path.glob("*/trial-*") if "epoch" not in path.name)
    assert len(folders) == len(set(folders)) == 5
    best = [output for output, _ in said if "charloom export" in output]
    assert len(best) == 1, said  # that of the machine that has the checkpoint


@pytest.mark.slow
def test_a_name_that_is_no_database(database, tmp_path):
    config = StudyConfig(storage=database.replace("/postgres", "/nowhere"))
    with pytest.raises(StorageError, match="nowhere"):
        open_study(config, SPACE, 1, tmp_path, {})
