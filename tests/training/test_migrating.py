"""docs/migrating.md: every option of char-rnn has a row, and what it names does what the row says."""

import json
import re
from pathlib import Path

import pytest

from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from training.checkpoint import find_checkpoint, load_checkpoint
from training.optimizer import Optimizer, OptimizerConfig
from training.presets import PRESETS
from training.run import stored_options

DOCUMENT = Path(__file__).parents[2] / "docs" / "migrating.md"

TRAIN = [
    "data_dir",
    "rnn_size",
    "num_layers",
    "model",
    "learning_rate",
    "learning_rate_decay",
    "learning_rate_decay_after",
    "decay_rate",
    "dropout",
    "seq_length",
    "batch_size",
    "max_epochs",
    "grad_clip",
    "train_frac",
    "val_frac",
    "init_from",
    "seed",
    "print_every",
    "eval_val_every",
    "checkpoint_dir",
    "savefile",
    "accurate_gpu_timing",
    "gpuid",
    "opencl",
]
SAMPLE = ["model", "seed", "sample", "primetext", "length", "temperature", "gpuid", "opencl", "verbose"]
"""The options of train.lua and sample.lua."""


def rows(heading):
    """The cells of a section's table, row by row, without its head."""
    section = DOCUMENT.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def cli(in_process):
    """Runs `charloom`, which must end well."""

    def run(*arguments):
        result = in_process(*arguments)
        assert result.returncode == 0, result.stderr
        return result

    return run


@pytest.mark.parametrize(
    ("script", "names", "command"), [("train.lua", TRAIN, "train"), ("sample.lua", SAMPLE, "generate")]
)
def test_every_option_has_a_row_and_ours_exist(script, names, command, cli):
    table = rows(script)
    assert [row[0] for row in table] == [f"`-{name}`" for name in names]
    known = set(re.findall(r"--[a-z-]+", cli(command, "--help").stdout))
    for name, _, ours, shown in table:
        named = re.findall(r"`(--[a-z-]+)`", ours)
        assert set(named) <= known, f"{name}: {set(named) - known} is no option of charloom {command}"
        assert named or shown in (
            "",
            "test_every_option_trains",
            "test_every_option_samples",
            "test_names_of_checkpoints",
        )
        assert not shown or callable(globals()[shown])


def test_what_shows_the_other_scripts_exists():
    assert [row[0] for row in rows("The other scripts")] == [
        "`inspect_checkpoint.lua`",
        "`convert_gpu_cpu_checkpoint.lua`",
    ]
    assert all(not row[-1] or callable(globals()[row[-1]]) for row in rows("The other scripts"))


def test_every_option_trains(run_cli, text, tmp_path):
    """Each option is given, with another value than char-rnn's default, and is what the run has."""
    given = {
        "cells": 24,
        "layers": 1,
        "cell": "gru",
        "learning_rate": 0.004,
        "decay": 0.9,
        "decay_after": 1,
        "alpha": 0.9,
        "dropout": 0.1,
        "length": 20,
        "batch": 4,
        "epochs": 2,
        "clip": 3.0,
        "train_fraction": 0.8,
        "validation_fraction": 0.1,
        "seed": 7,
        "evaluate_every": 15,
        "device": "cpu",
    }
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    before = set(text.parent.iterdir())
    code, said = run_cli("train", text, "--out", "cv/mine", "--preset", "char-rnn", *words)
    assert code == 0
    assert set(text.parent.iterdir()) - before == {tmp_path / "cv"}, "nothing is written beside the text"
    assert re.search(r"model: GRU, 1 x 24 cells, one-hot, [\d,]+ parameters", said)
    assert "test loss" in said
    checkpoint = load_checkpoint(tmp_path / "cv" / "mine" / "last")
    stored = stored_options(checkpoint).flat()
    assert {name: stored[name] for name in given} == given
    assert all(given[name] != PRESETS["char-rnn"].get(name) for name in given)
    rest = PRESETS["char-rnn"].keys() - given.keys()
    assert {name: stored[name] for name in rest} == {name: PRESETS["char-rnn"][name] for name in rest}
    notes = [json.loads(line) for line in (tmp_path / "cv/mine/metrics.jsonl").read_text().splitlines()]
    assert [note["step"] for note in notes if note["validation_loss"]] == [
        *range(0, notes[-1]["step"], 15),
        notes[-1]["step"],
    ]
    assert all(note["characters_per_second"] > 0 for note in notes[1:])


def test_the_rate_decays_as_it_did():
    """The loop of train.lua: after an epoch that is late enough, the rate is multiplied."""
    config = OptimizerConfig(schedule="epochs", learning_rate=2e-3, decay=0.97, decay_after=3)
    ours = Optimizer(RecurrentModel(RecurrentConfig(cells=2), 3, 2), config)
    rate, per_epoch = 2e-3, 4
    for i in range(1, 8 * per_epoch + 1):
        step = i - 1
        assert ours.rate(step, step // per_epoch, 0.0) == pytest.approx(rate)
        if i % per_epoch == 0 and i / per_epoch >= 3:
            rate *= 0.97
    assert rate < 2e-3


def test_weights_of_another_run(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "one", *small(epochs=4))[0] == 0
    code, said = run_cli(
        "train",
        text,
        "--out",
        "two",
        "--init-from",
        "one",
        "--batch",
        4,
        "--length",
        16,
        "--epochs",
        1,
        "--train-fraction",
        0.8,
        "--precision",
        "float32",
    )
    assert code == 0
    assert "starting from epoch" in said
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert two[0]["validation_loss"] == pytest.approx(
        load_checkpoint(tmp_path / "one").summary["validation_loss"], abs=0.1
    )
    assert two[0]["validation_loss"] < one[0]["validation_loss"] - 0.5


def test_a_line_every_so_many_steps(run_cli, text, small, tmp_path):
    code, said = run_cli("train", text, "--out", "run", *small(print_every=10, metrics_every=1))
    assert code == 0
    steps = [int(found) for found in re.findall(r"^step (\d+) of \d+  epoch \d", said, re.MULTILINE)]
    total = load_checkpoint(tmp_path / "run" / "last").summary["steps"]
    assert steps == list(range(10, total + 1, 10))
    notes = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [note["step"] for note in notes] == list(range(total + 1))


def test_names_of_checkpoints(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "cv/mine", *small(epochs=3, evaluate_every=20, keep=1))[0] == 0
    run = tmp_path / "cv" / "mine"
    names = {path.parent.name for path in run.glob("*/checkpoint.json")}
    assert 1 <= len(names) <= 3
    for name in names:
        epoch, loss = re.fullmatch(r"epoch(\d+\.\d\d)_loss(\d+\.\d{4})", name).groups()
        summary = load_checkpoint(run / name).summary
        assert (f"{summary['epoch']:.2f}", f"{summary['validation_loss']:.4f}") == (epoch, loss)
    assert {(run / pointer).read_text().strip() for pointer in ("best", "last")} <= names


def test_a_checkpoint_can_be_inspected(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "run", *small())[0] == 0
    manifest = json.loads((find_checkpoint(tmp_path / "run") / "checkpoint.json").read_text())
    assert manifest["options"]["model"]["config"]["cells"] == 16
    assert manifest["progress"]["evaluations"][0]["validation_loss"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<th>cells</th><td>16</td>" in page
    assert f"{manifest['summary']['best_validation_loss']:.4f}" in page


def test_every_option_samples(cli, bundle_dir):
    def generate(*options):
        return cli(
            "generate",
            "--bundle",
            bundle_dir,
            "--prompt",
            "The ",
            "--max-tokens",
            30,
            "--device",
            "cpu",
            *options,
        )

    drawn = generate("--temperature", 1, "--seed", 7)
    assert len(drawn.stdout) == 30
    assert drawn.stdout == generate("--temperature", 1, "--seed", 7).stdout
    assert drawn.stdout != generate("--temperature", 1, "--seed", 8).stdout
    likeliest = generate("--temperature", 0, "--seed", 7).stdout
    assert likeliest == generate("--temperature", 0, "--seed", 8).stdout
    unseeded = generate("--temperature", 1)
    assert len(unseeded.stdout) == 30
    assert re.search(r"seed \d+", unseeded.stderr)
