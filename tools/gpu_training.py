"""The training half of the GPU check: does a resumed run equal an undisturbed one, and how fast is it?

Two runs on a GPU need not agree to the bit, since some of its sums depend on who comes first. So an
undisturbed run is made twice, and a stopped and resumed one is held against what lies between these.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.training import BARE, LOOP, Size, measure
from networks.recurrent.config import RecurrentConfig
from training.config import RunConfig
from training.data.corpus import Corpus
from training.data.read_corpus import read_corpus
from training.defaults import settled
from training.folder import RunFolder
from training.hardware import Hardware
from training.options import Options
from training.reporting.config import PreviewConfig
from training.reporting.reporter import Reporter
from training.run import fresh, resumed
from training.trainer import Trainer

APART = 0.02
"""Nats by which the last losses of a resumed and an undisturbed run may differ beyond what two
undisturbed ones do."""
STEPS = 100
"""Steps in which synchronisations with the GPU are counted; several of the blocks that are read ahead."""


@dataclass(frozen=True)
class Comparison:
    """Differences between two runs that should be equal."""

    weights: float
    """Largest difference of a weight; 0: equal to the bit."""
    losses: float
    """Largest difference of a validation loss, in nats."""

    def __str__(self) -> str:
        if not self.weights and not self.losses:
            return "equal to the bit"
        return f"weights {self.weights:.1e}, validation losses {self.losses:.1e} nats apart"


class ReachedError(Exception):
    """A run has reached the wanted loss."""


def check_resume(text: Path, work: Path, hardware: Hardware, cells: int) -> bool:
    """Trains undisturbed, again, and interrupted; prints the differences; gives whether they pass."""
    options = Options(
        model=RecurrentConfig(cells=cells),
        run=RunConfig(epochs=2, evaluate_every=40, patience=0, keep=0),
        preview=PreviewConfig(preview_length=0),
    )
    corpus = read_corpus(text, options.corpus)
    options = settled(options, corpus).options
    whole, again = (train(options, corpus, hardware, work / name) for name in ("whole", "again"))
    parts = train(options, corpus, hardware, work / "parts", stop=50)
    repeated, interrupted = compare(whole, again), compare(whole, parts)
    print(f"training twice: {repeated}; stopped and resumed: {interrupted}")
    return interrupted.losses <= repeated.losses + APART


def train(options: Options, corpus: Corpus, hardware: Hardware, out: Path, stop: int = 0) -> Trainer:
    """A finished run; with `stop`, one that was stopped after so many steps and resumed."""
    trainer = begun(options, corpus, hardware, out)
    if stop:
        trainer.open()
        trainer.evaluate()
        for _ in range(stop):
            trainer.advance()
        trainer.save()
        trainer = resumed(options, corpus, hardware, trainer.folder, Reporter())
    trainer.run()
    return trainer


def begun(options: Options, corpus: Corpus, hardware: Hardware, out: Path) -> Trainer:
    """A run before its first step, in place of any that the folder holds."""
    folder = RunFolder(out)
    folder.open(overwrite=True)
    return fresh(options, corpus, hardware, folder, Reporter(), None)


def check_steps(text: Path, work: Path, hardware: Hardware) -> bool:
    """Takes steps in which PyTorch refuses to wait for a GPU; gives whether none did."""
    options = Options(model=RecurrentConfig(cells=64), preview=PreviewConfig(preview_length=0))
    corpus = read_corpus(text, options.corpus)
    trainer = begun(settled(options, corpus).options, corpus, hardware, work)
    trainer.open()
    trainer.evaluate()
    trainer.advance()  # the first step makes what later ones use
    gpu = hardware.device.type == "cuda"
    try:
        if gpu:
            torch.cuda.set_sync_debug_mode("error")
        for _ in range(STEPS):
            trainer.step()
    except RuntimeError as error:
        print(f"a step waits for the GPU: {error}")
        return False
    finally:
        if gpu:
            torch.cuda.set_sync_debug_mode("default")
    print(f"{STEPS} steps wait for nothing" if gpu else f"{STEPS} steps, with no GPU to wait for")
    return True


def compare(one: Trainer, other: Trainer) -> Comparison:
    """The differences between two runs."""
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    losses = zip(one.progress.evaluations, other.progress.evaluations, strict=True)
    return Comparison(
        weights=max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs),
        losses=max(abs(a["validation_loss"] - b["validation_loss"]) for a, b in losses),
    )


def print_speed(sizes: Sequence[Size], hardware: Hardware, rounds: int, seconds: float) -> None:
    """Prints the loop's speed, and its share of the bare network's."""
    for size in sizes:
        rates = measure(size, hardware, rounds, seconds)
        print(
            f"{size.name}, {hardware.precision}: {rates[LOOP]:,.0f} characters/s, "
            f"{rates[LOOP] / rates[BARE]:.0%} of the bare steps"
        )


def reach(text: Path, out: Path, hardware: Hardware, options: Options, target: float) -> bool:
    """Trains until the validation loss is low enough; prints the minutes; gives whether it was reached."""
    corpus = read_corpus(text, options.corpus)
    trainer = begun(settled(options, corpus).options, corpus, hardware, out)

    def watch(trainer: Trainer) -> None:
        if trainer.progress.best_loss <= target:
            raise ReachedError

    trainer.watch = watch
    began = time.monotonic()
    try:
        trainer.run()
    except ReachedError:
        minutes = (time.monotonic() - began) / 60
        print(f"validation loss {trainer.progress.best_loss:.4f} after {minutes:.1f} minutes ({text.name})")
        return True
    print(f"validation loss {trainer.progress.best_loss:.4f} at the end, and not {target:g} ({text.name})")
    return False
