"""`charloom sweep` with real trainings, alone, beside another one, stopped and killed."""

import csv
import fcntl
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.training.sweeping.conftest import stop_heartbeat
from training.checkpoint import load_checkpoint, load_training_state
from training.sweeping.folder import SweepFolder
from training.sweeping.outcome import Row, TrialOutcome
from training.sweeping.storage import DATABASE

VARY = ("--vary", "cells=8,16", "--vary", "learning-rate=1e-3..1e-1:log")
FIXED = ("--vary", "cells=16", "--vary", "learning-rate=0.01")


def rows(out):
    return list(csv.DictReader((out / "table.csv").open()))


@pytest.fixture
def start(text):
    """Starts a sweep in a process of its own; ends it with the test."""
    started = []

    def process(out, *options):
        command = [sys.executable, "-m", "charloom", "sweep", text, "--out", out, *options]
        made = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        started.append(made)
        return made

    yield process
    for made in started:
        made.kill()
        made.wait()


def wait_for(process, pattern):
    for line in process.stderr:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"ended with {process.wait()} before it said {pattern}")


def test_three_trials_from_beginning_to_end(run_cli, text, small, tmp_path, capsys):
    code, said = run_cli("sweep", text, "--out", "sweep", "--trials", 3, *VARY, *small())
    assert code == 0, said
    out = tmp_path / "sweep"
    table = rows(out)
    assert [row["trial"] for row in table] == ["trial-000", "trial-001", "trial-002"]
    for row in table:
        run = load_checkpoint(out / row["trial"])
        assert run.options["model"]["config"]["cells"] == int(row["cells"])
        assert run.options["optimizer"]["learning_rate"] == float(row["learning-rate"])
        assert run.summary["best_validation_loss"] == float(row["validation_loss"])
        assert f"{row['trial']}  done: validation loss" in said
        assert len(list((out / row["trial"]).glob("epoch*"))) == 1
    best = min(float(row["validation_loss"]) for row in table)
    assert load_checkpoint(out / "best").summary["best_validation_loss"] == best
    assert load_checkpoint(out).summary["best_validation_loss"] == best
    assert ElementTree.parse(out / "plot.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert not [line for line in said.splitlines() if "Trial" in line or "[I " in line]  # Optuna's own


def test_the_same_command_goes_on_and_a_larger_number_adds_trials(run_cli, text, small, tmp_path):
    options = (*VARY, *small())
    assert run_cli("sweep", text, "--out", "sweep", "--trials", 1, *options)[0] == 0
    before = rows(tmp_path / "sweep")
    code, said = run_cli("sweep", text, "--out", "sweep", "--trials", 1, *options)
    assert (code, "trial-" in said) == (0, False)
    assert run_cli("sweep", text, "--out", "sweep", "--trials", 2, *options)[0] == 0
    after = rows(tmp_path / "sweep")
    assert after[:1] == before
    assert len(after) == 2
    code, said = run_cli("sweep", text, "--out", "sweep", *VARY, *small(length=8))
    assert (code, "length 16, not 8" in said) == (21, True)
    code, said = run_cli("sweep", text, "--out", "sweep", *FIXED, *small())
    assert (code, "has vary" in said) == (21, True)
    text.write_text(text.read_text() + "more\n")
    code, said = run_cli("sweep", text, "--out", "sweep", *options)
    assert (code, "has text" in said) == (21, True)


@pytest.mark.parametrize(
    "name", ["what?", *(pytest.param(name, marks=pytest.mark.slow) for name in ("a%20b", "#1"))]
)
def test_a_sweeps_database_lies_in_its_folder_whatever_that_is_called(name, run_cli, text, small, tmp_path):
    code, said = run_cli("sweep", text, "--out", name, "--trials", 1, *FIXED, *small())
    assert code == 0, said
    assert (tmp_path / name / DATABASE).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, text.name])


def test_a_trial_that_came_to_its_loss_elsewhere_is_not_taken_from_here(run_cli, text, small, tmp_path):
    """Two machines without a shared folder have a `trial-000` each."""
    for out in ("here", "there"):
        shared = ("--storage", f"sqlite:///{tmp_path}/shared.db", "--study", "one")
        code, said = run_cli("sweep", text, "--out", out, "--trials", 1, *shared, *FIXED, *small())
        assert code == 0, said
    assert "epoch" not in str(list((tmp_path / "there").iterdir()))
    folder = SweepFolder(tmp_path / "here")
    loss = float(rows(folder.path)[0]["validation_loss"])
    for outcome, held in (
        (TrialOutcome("done", loss), True),
        (TrialOutcome("done", loss - 0.1), False),
        (TrialOutcome("failed"), False),
    ):
        assert folder.has(Row(0, "trial-000", {}, "m", {}, outcome)) is held


def test_the_table_says_what_to_do_with_the_best(in_process, text, small, tmp_path):
    result = in_process("sweep", text, "--out", tmp_path / "sweep", "--trials", 1, *FIXED, *small())
    assert result.returncode == 0, result.stderr
    head, first, *_ = result.stdout.splitlines()
    assert head.split()[:3] == ["trial", "outcome", "loss"]
    assert first.split()[:2] == ["000", "done"]
    assert f"charloom export {tmp_path / 'sweep' / 'best'}" in result.stdout


def test_settings_come_from_a_file_too(run_cli, text, tmp_path):
    (tmp_path / "charloom.toml").write_text(
        '[sweep]\nvary = ["cells=8", "dropout=0..0.5"]\ntrials = 1\n'
        'preset = "char-rnn"\nepochs = 1\nbatch = 4\n'
    )
    code, said = run_cli("sweep", text, "--out", "sweep")
    assert code == 0, said
    run = load_checkpoint(tmp_path / "sweep").options
    assert (run["model"]["config"]["cells"], run["optimizer"]["optimizer"]) == (8, "rmsprop")


def test_what_cannot_be_swept_is_named_and_nothing_is_made(run_cli, text, small, tmp_path):
    for arguments, word in (
        (("--vary", "sells=1"), "sells"),
        ((), "vary is missing"),
        ((*FIXED, "--trials", 0), "trials"),
        ((*FIXED, "--trial-minutes", -1), "trial-minutes"),
    ):
        code, said = run_cli("sweep", text, "--out", "sweep", *arguments, *small())
        assert (code, word in said) == (2, True), said
    assert run_cli("sweep", "none.txt", "--out", "sweep", *FIXED, *small())[0] == 3
    assert not (tmp_path / "sweep").exists()
    assert run_cli("sweep", text, "--out", text / "sweep", *FIXED, *small())[0] == 11


def test_values_that_do_not_work_make_failed_trials(run_cli, text, small, tmp_path):
    code, said = run_cli("sweep", text, "--out", "sweep", "--trials", 2, "--vary", "batch=4000", *small())
    assert (code, "none of 2 trials gave a model" in said, "lower --batch" in said) == (21, True, True)
    table = rows(tmp_path / "sweep")
    assert [row["outcome"] for row in table] == ["failed", "failed"]
    assert "one step takes" in table[0]["note"]


def test_a_run_that_is_none_of_the_sweep_is_left_alone(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "sweep/trial-000", *small(seed=5))[0] == 0
    code, said = run_cli("sweep", text, "--out", "sweep", *FIXED, *small())
    assert (code, "is not of this sweep" in said) == (11, True)
    assert load_checkpoint(tmp_path / "sweep" / "trial-000").options["run"]["seed"] == 5


def test_a_run_is_no_place_for_a_sweep(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "mine", *small())[0] == 0
    before = sorted(path.name for path in (tmp_path / "mine").iterdir())
    code, said = run_cli("sweep", text, "--out", "mine", *FIXED, *small())
    assert (code, "mine holds a run: choose another --out" in said) == (11, True), said
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == before


def test_a_sweep_is_no_place_for_a_run(run_cli, text, small, tmp_path):
    assert run_cli("sweep", text, "--out", "sweep", "--trials", 1, *FIXED, *small())[0] == 0
    before = (tmp_path / "sweep" / "best").read_text()
    code, said = run_cli("train", text, "--out", "sweep", *small())
    assert (code, "sweep holds a sweep: choose another --out" in said) == (11, True), said
    assert (tmp_path / "sweep" / "best").read_text() == before


def test_a_trial_takes_as_long_as_it_may(run_cli, after_steps, pass_time, text, small, tmp_path):
    after_steps(lambda step: pass_time(1))
    options = ("--trials", 1, "--trial-minutes", 0.5, *FIXED, *small(epochs=100_000, evaluate_every=20))
    code, said = run_cli("sweep", text, "--out", "sweep", *options)
    assert code == 0, said
    (row,) = rows(tmp_path / "sweep")
    assert float(row["seconds"]) == 30
    assert 0 < float(row["epochs"]) < 2


def ended_in(said):
    """The trials that a process brought to their end, by what it said."""
    return set(re.findall(r"^(trial-\d+)  (?:done|pruned)", said, re.MULTILINE))


def expect_best(out):
    """The best checkpoint is that of the lowest loss in the table."""
    best = min(float(row["validation_loss"]) for row in rows(out))
    assert load_checkpoint(out / "best").summary["best_validation_loss"] == best


def test_a_sweep_that_joins_another_one_takes_the_trials_that_are_left(
    run_cli, after_steps, text, small, tmp_path, monkeypatch
):
    """It is called between two steps of the other one, and stopped where it would wait for that."""
    sweep, joined = ("sweep", text, "--out", "sweep", "--trials", 4, *VARY, *small()), []

    def join(step):
        if joined:
            return
        joined.append(step)
        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
            joined[:] = run_cli(*sweep)

    after_steps(join)
    code, said = run_cli(*sweep)
    assert (code, ended_in(said)) == (0, {"trial-000"}), said
    code, said = joined
    assert (code, ended_in(said)) == (130, {"trial-001", "trial-002", "trial-003"}), said
    assert "waiting for 1 trial of other processes" in said
    assert "stopped between two trials; the same command goes on" in said
    assert [row["trial"] for row in rows(tmp_path / "sweep")] == [f"trial-00{i}" for i in range(4)]
    expect_best(tmp_path / "sweep")


@pytest.mark.slow
def test_two_processes_share_the_trials(start, small, tmp_path):
    out = tmp_path / "sweep"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes = [start(out, "--trials", 6, *VARY, *small(epochs=10)) for _ in range(2)]
        while sum(f" {process.pid} " in Path("/proc/locks").read_text() for process in processes) < 2:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.1)  # until both stand before the lock, and begin together
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    ended = list(map(ended_in, said))
    assert ended[0]
    assert ended[1]
    assert not ended[0] & ended[1]
    table = rows(out)
    assert {row["trial"] for row in table} == ended[0] | ended[1]
    assert len(table) == 6
    expect_best(out)


def undisturbed(run_cli, text, tmp_path, options):
    """The evaluations of the same run by `charloom train`."""
    assert run_cli("train", text, "--out", tmp_path / "whole", *options, "--learning-rate", 0.01)[0] == 0
    return evaluations(tmp_path / "whole" / "best")


def evaluations(checkpoint):
    progress = load_training_state(checkpoint).progress
    return [entry | {"seconds": 0} for entry in progress["evaluations"]]


LONG = {"epochs": 2, "evaluate_every": 20, "patience": 0}
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""What stops a sweep, and its exit code then."""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_sweep_goes_on_with_the_same_command(number, run_cli, after_steps, text, small, tmp_path):
    out, options = tmp_path / "sweep", small(**LONG)
    sweep = ("sweep", text, "--out", out, "--trials", 1, *FIXED, *options)
    whole = undisturbed(run_cli, text, tmp_path, options)
    after_steps(lambda step: step == 33 and signal.raise_signal(number))
    code, said = run_cli(*sweep)
    assert code == SIGNALS[number]
    assert "stopped in trial-000; the same command goes on" in said
    code, said = run_cli(*sweep)
    assert (code, "trial-000  goes on at epoch" in said) == (0, True), said
    assert [(row["trial"], row["outcome"]) for row in rows(out)] == [("trial-000", "done")]
    assert evaluations(out / "trial-000") == whole


def copy_sweep(folder, copy):
    """Copies a sweep's folder as it is at this moment, which is what a kill would leave of it."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(f"{DATABASE}*"))
    with (
        closing(sqlite3.connect(folder / DATABASE)) as database,
        closing(sqlite3.connect(copy / DATABASE)) as copied,
    ):
        database.backup(copied)


def test_a_killed_trial_goes_on_where_it_was_saved(run_cli, after_steps, text, small, tmp_path):
    options = small(**LONG)
    sweep = ("--trials", 2, *FIXED, *options)
    whole = undisturbed(run_cli, text, tmp_path, options)
    left = tmp_path / "killed" / "sweep"

    def kill(step):
        if step == 33 and not left.exists():
            copy_sweep(tmp_path / "sweep", left)
            signal.raise_signal(signal.SIGTERM)  # nobody needs the original any more

    after_steps(kill)
    assert run_cli("sweep", text, "--out", "sweep", *sweep)[0] == 143
    stop_heartbeat(0, left)
    code, said = run_cli("sweep", text, "--out", left, *sweep)
    assert code == 0, said
    assert "trial-000  goes on at epoch 0.65" in said  # as it was evaluated, after 20 of 31 steps
    assert [row["trial"] for row in rows(left)][:1] == ["trial-000"]
    assert [row["outcome"] for row in rows(left)] == ["done", "done"]
    assert evaluations(left / "trial-000") == whole


@pytest.mark.slow
@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGKILL])
def test_a_trial_of_a_process_that_was_stopped_or_killed_goes_on(
    number, start, run_cli, text, small, tmp_path
):
    # It says more than a pipe holds, so it is not over before the signal comes, however long that takes.
    out, options = tmp_path / "sweep", small(epochs=60, evaluate_every=300, print_every=1, patience=0)
    sweep = ("--trials", 1, "--stale-seconds", 2, *FIXED, *options)
    process = start(out, *sweep)
    wait_for(process, r"trial-000  step 310 ")
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait() == SIGNALS.get(number, -number)
    assert ("stopped in trial-000; the same command goes on" in said) == (number in SIGNALS)
    assert "Traceback" not in said
    code, said = run_cli("sweep", text, "--out", out, *sweep)
    assert (code, "trial-000  goes on at epoch" in said) == (0, True), said
    assert [(row["trial"], row["outcome"]) for row in rows(out)] == [("trial-000", "done")]
    assert evaluations(out / "trial-000") == undisturbed(run_cli, text, tmp_path, options)
