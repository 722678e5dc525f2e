"""What training takes of the machine's memory, whatever the length of the text."""

import os
import subprocess
import sys

import pytest

from benchmarks.corpus import write
from training.checkpoint import load_training_state

OPTIONS = {
    "cells": 16,
    "embedding": 4,
    "precision": "float32",
    "threads": 1,
    "train-fraction": 0.998,
    "validation-fraction": 0.002,
    "preview-length": 0,
}


def peak(text, out, size):
    """The most memory that a training held, in bytes; the steps are as many for any size of the text."""
    options = OPTIONS | {"epochs": 200_000 / size}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", "training", str(text), "--out", str(out), *arguments])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert load_training_state(out / "last").progress["step"] > 10
    return used.ru_maxrss * 1024


@pytest.mark.slow
def test_a_long_text_takes_no_more_memory_than_a_short_one(tmp_path):
    peaks = []
    for name, size in (("short", 10_000_000), ("long", 100_000_000)):
        write(tmp_path / name, size, lambda line: f"{line} “ç”")
        peaks.append(peak(tmp_path / name, tmp_path / f"run {name}", size))
        (tmp_path / name).unlink()
    assert peaks[1] - peaks[0] < 20_000_000, peaks
