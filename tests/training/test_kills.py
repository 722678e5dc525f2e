"""A run is killed at any moment, and goes on as if it had not been."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.training.conftest import VERSE
from training.checkpoint import load_checkpoint, load_training_state

SAVING = {"evaluate-every": 25, "save-minutes": 1e-5, "keep": 1, "threads": 1, "patience": 0}
"""Saves after nearly every step, so that a kill meets a save more often than not."""


@pytest.fixture
def text(text):
    """Twice as much of it, so that a run is not over too soon."""
    text.write_text("".join(f"{i}. {VERSE}" for i in range(60)))
    return text


def evaluations(run):
    """What a run measured, without what depends on the clock."""
    progress = load_training_state(run / "last").progress
    return [evaluation | {"seconds": 0} for evaluation in progress["evaluations"]]


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(text, small, tmp_path, run_cli):
    options = small(epochs=4, **SAVING)
    assert run_cli("train", text, "--out", tmp_path / "whole", *options)[0] == 0
    run, moments, killed = tmp_path / "run", random.Random(1), 0
    command = [sys.executable, "-m", "training", str(text), "--out", str(run)]
    while True:
        going = (run / "last").exists()
        process = subprocess.Popen([*command, *(["--resume"] if going else options)], stderr=subprocess.PIPE)
        before = (run / "last").read_text() if going else ""
        while process.poll() is None and killed < 8:
            if (run / "last").exists() and (run / "last").read_text() != before:
                time.sleep(moments.uniform(0, 0.4))
                process.kill()
                break
            time.sleep(0.001)
        said = process.communicate()[1].decode()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
        killed += 1
    assert killed >= 5
    assert evaluations(run) == evaluations(tmp_path / "whole")
    load_checkpoint(run)
    assert not list(run.glob(".partial-*"))


KILLED_AT = """
import json, os, signal, sys
import torch
import training.run
from charloom.cli import main

torch.optim.Adam([torch.zeros(1)])  # which imports much; so all is imported once, for all children

TOUCHES = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree", "os.truncate"}


def trained(run, options, last):
    "Trains in a process of its own, which is killed before it touches the run's folder for the last time."
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    touches = 0

    def hook(event, arguments):
        nonlocal touches
        if event in TOUCHES and run in str(arguments[0]):
            touches += 1
            if touches == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        main(["train", text, "--out", run, *options])
    except SystemExit as end:
        os._exit(end.code)


text, folder, *options = sys.argv[1:]
outcomes = [trained(f"{folder}/whole", options, 0)]
while True:
    run = f"{folder}/run{len(outcomes)}"
    killed = trained(run, options, len(outcomes))
    resume = ["--resume"] if os.path.exists(f"{run}/last") else options
    outcomes.append((killed, trained(run, resume, 0) if killed else 0))
    if not killed:
        break
print(json.dumps(outcomes))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a hundred short runs
def test_a_kill_between_any_two_changes_of_the_folder_changes_nothing(text, small, tmp_path):
    text.write_text(text.read_text()[:3000])
    options = small(**SAVING | {"evaluate-every": 20, "save-minutes": 5})
    result = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(text), str(tmp_path), *options],
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    whole, *outcomes = json.loads(result.stdout)
    assert whole == 0
    assert len(outcomes) > 40
    assert outcomes == [*([[-signal.SIGKILL, 0]] * (len(outcomes) - 1)), [0, 0]]
    expected = evaluations(tmp_path / "whole")
    assert len(expected) > 2
    for number in range(1, len(outcomes) + 1):
        run = tmp_path / f"run{number}"
        assert evaluations(run) == expected, f"killed before touch {number}"
        lowest = min(one["validation_loss"] for one in expected)
        assert f"_loss{lowest:.4f}" in load_checkpoint(run / "best").name
        assert not list(run.glob(".partial-*"))
