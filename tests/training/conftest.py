"""Small real parts for the tests of training: a text, options that train in a moment, a trainer, a clock."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from networks.recurrent.config import RecurrentConfig
from networks.registry import NETWORKS, NetworkRegistry
from training.checkpoint import load_checkpoint, load_training_state
from training.data.batches import BatchConfig
from training.data.config import CorpusConfig
from training.data.read_corpus import read_corpus
from training.folder import RunFolder
from training.hardware import HardwareConfig, resolve
from training.optimizer import OptimizerConfig
from training.options import Options
from training.regularisation import RegularisationConfig
from training.reporting.preview import PreviewConfig
from training.reporting.reporter import Reporter
from training.schedule import RunConfig
from training.trainer import Trainer

VERSE = "The loom goes to, the loom goes fro,\nand thread by thread the pattern grows.\n"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two processes whose threads outnumber the cores wait for each other most of the time."""
    torch.set_num_threads(1)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text("".join(f"{i}. {VERSE}" for i in range(30)))
    return path


@pytest.fixture
def options() -> Options:
    return Options(
        model=RecurrentConfig(cells=24, embedding=8),
        regularisation=RegularisationConfig(
            dropout=0.2, input_dropout=0.1, output_dropout=0.2, token_dropout=0.1, weight_dropout=0.3
        ),
        corpus=CorpusConfig(train_fraction=0.8, validation_fraction=0.1),
        batches=BatchConfig(batch=4, length=16, start_rate=0.2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup=5),
        run=RunConfig(epochs=2, evaluate_every=20, patience=0),
        hardware=HardwareConfig(device="cpu", precision="float32"),
        preview=PreviewConfig(preview_temperatures=(0.8,), preview_length=20),
    )


@pytest.fixture
def make_trainer(text: Path) -> Callable[..., Trainer]:
    """A trainer in a folder, fresh or resumed, as the command makes it."""

    def make(
        options: Options,
        out: Path,
        *,
        resume: bool = False,
        path: Path = text,
        networks: NetworkRegistry = NETWORKS,
    ) -> Trainer:
        corpus = read_corpus(path, options.corpus, reading=options.records)
        hardware = resolve(options.hardware)
        folder = RunFolder(out)
        folder.open(overwrite=False)
        torch.manual_seed(options.run.seed)
        model = networks.build(options.model, corpus.vocabulary.inputs, corpus.vocabulary.size)
        if resume:
            model = load_checkpoint(folder.last, networks).model().train()
        trainer = Trainer(options, corpus, model, hardware, folder, Reporter(), networks=networks)
        if resume:
            trainer.resume(load_training_state(folder.last))
        trainer.open()
        return trainer

    return make


@pytest.fixture
def run_cli(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Runs `charloom` in this process: its exit code and what it said on standard error."""
    from charloom.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        return exit_.value.code, capsys.readouterr().err

    return run


SMALL = {
    "cells": 16,
    "embedding": 4,
    "batch": 4,
    "length": 16,
    "epochs": 1,
    "preview-length": 0,
    "precision": "float32",
    "train-fraction": 0.8,
}


@pytest.fixture
def small() -> Callable[..., tuple[str, ...]]:
    """Options of a run that takes a moment, as arguments, some of them changed."""

    def arguments(**changes: object) -> tuple[str, ...]:
        options = SMALL | {name.replace("_", "-"): value for name, value in changes.items()}
        return tuple(word for name, value in options.items() for word in (f"--{name}", str(value)))

    return arguments


@pytest.fixture
def after_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], object]], None]:
    """Has something done after every step of all trainings in this process; it gets the number of steps."""

    def arrange(act: Callable[[int], object]) -> None:
        def step(trainer: Trainer) -> None:
            take_step(trainer)
            act(trainer.progress.step)

        take_step = Trainer.step
        monkeypatch.setattr(Trainer, "step", step)

    return arrange


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stops the clock that runs go by; it goes on by so many seconds when it is told to."""
    now = time.monotonic()

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return advance
