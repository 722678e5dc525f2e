"""How fast training is: characters a second of the whole loop, beside the bare steps of the same network.

The loop is that of `charloom train` between two evaluations. The bare steps are forward, backward and
optimiser of the same `nn.LSTM` with its embedding and output, on chunks that lie ready on the device,
with no clipping, no schedule, no sum of losses, and nobody who looks at clocks and signals. Every
figure is the median of rounds that visit all variants in turn. A second table says what each variant of
training costs beside the plain one. Run with `make bench-training`; on a GPU it measures that
(`--device cpu` does not), and bfloat16 beside float32 where the hardware computes in it.
"""

import argparse
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.bundles import ALPHABET
from benchmarks.processes import processor
from benchmarks.race import Call, race
from benchmarks.table import print_row
from charloom.processor import available_cores
from charloom.records import RecordsConfig
from training.config import HardwareConfig, RunConfig
from training.data.config import CorpusConfig
from training.data.read_corpus import read_corpus
from training.folder import RunFolder
from training.hardware import Hardware, computes_bfloat16, resolve
from training.options import Options
from training.presets import PRESETS
from training.reporting.reporter import Reporter
from training.run import fresh
from training.sweeping.space import changed
from training.trainer import Trainer

CHARACTERS = 1_000_000
CHAR_RNN = 15_000
"""Characters a second of char-rnn (Lua Torch, double precision) at its defaults, LSTM 128x2, 50 lanes of
50, measured on two cores of an Intel Xeon; this benchmark does not run it."""
TIMES = 8
"""Times that figure is the bar for the same size."""
MOST = 0.05
"""Share that the loop may take beside the bare steps."""
CHUNKS = 16
"""Chunks of the bare steps, one after the other and again."""


UNENDING = Options(
    corpus=CorpusConfig(train_fraction=0.99, validation_fraction=0.01),
    run=RunConfig(epochs=10**6, evaluate_every=10**9, save_minutes=10**6, patience=0),
)
"""A run that is never evaluated once it has begun."""


@dataclass(frozen=True)
class Size:
    """A model, and the inputs of a step."""

    layers: int
    cells: int
    batch: int
    length: int

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.cells}x{self.layers}, {self.batch} lanes of {self.length}"

    @property
    def options(self) -> dict[str, int]:
        """The same as options of a run."""
        return asdict(self)

    @property
    def defaults(self) -> bool:
        """Whether it is what char-rnn trains by default."""
        return self == SIZES[0]


SIZES = (Size(2, 128, 50, 50), Size(2, 512, 64, 128))
TINY = (Size(1, 8, 4, 8),)
BARE, LOOP = "bare steps", "whole loop"

PLAIN: Mapping[str, Any] = {"dropout": 0.0}
"""No regularisation: what the bare steps do is all that must be done."""

VARIANTS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("cells 0.25 (dropout)", {"dropout": 0.25, "input_dropout": 0.25, "output_dropout": 0.25}),
    ("weights 0.5", {"weight_dropout": 0.5}),
    ("tokens 0.1", {"token_dropout": 0.1}),
    ("one-hot", {"embedding": 0}),
    ("records", {"records": "lines"}),
    ("preset char-rnn", {name: PRESETS["char-rnn"][name] for name in ("embedding", "optimizer", "clip_by")}),
)
"""Variants of training, by name: the options in which each differs from the plain one."""


def main() -> None:
    """Prints both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="0: as charloom train takes by itself")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1, help="of one variant in a round")
    parser.add_argument("--quick", action="store_true", help="a small model, and short: does it work?")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.02
    hardware = resolve(HardwareConfig(device=options.device, threads=options.threads))
    numbers = ["float32", *["bfloat16"] * computes_bfloat16(hardware.device)]
    name = hardware.name if hardware.device.type == "cuda" else processor()
    threads = f"{hardware.threads} thread{'s'[: hardware.threads > 1]}"
    print(f"{name}, {available_cores()} cores, {threads}; torch {torch.__version__};")
    print(f"thousands of characters a second, medians of {options.rounds}.\n")
    measured: dict[tuple[Size, str], dict[str, float]] = {}
    for size in TINY if options.quick else SIZES:
        for precision in numbers:
            config = replace(hardware, bfloat16=precision == "bfloat16")
            measured[size, precision] = measure(size, config, options.rounds, options.seconds)
    print_loop(measured)
    print()
    print_variants(measured)


def measure(size: Size, hardware: Hardware, rounds: int, seconds: float) -> dict[str, float]:
    """Characters a second of the bare steps, of the loop, and of the loop in all variants."""
    wait = torch.cuda.synchronize if hardware.device.type == "cuda" else lambda: None
    with variants(size, hardware) as calls:
        return race(calls, rounds, seconds, wait)


@contextmanager
def variants(size: Size, hardware: Hardware) -> Iterator[dict[str, Call]]:
    """All that is compared, as long as the context lasts."""
    with TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("".join(lines(CHARACTERS)), encoding="utf-8")
        corpora = {
            records: read_corpus(text, UNENDING.corpus, reading=RecordsConfig(records))
            for records in ("none", "lines")
        }

        def trainer(name: str, options: Mapping[str, Any]) -> Trainer:
            mine = changed(UNENDING, {**size.options, **PLAIN, **options})
            run = RunFolder(Path(folder) / name)
            run.open(overwrite=False)
            made = fresh(mine, corpora[mine.records.records], hardware, run, Silent())
            made.open()
            made.evaluate()
            return made

        plain = trainer("plain", {})
        yield {
            BARE: bare(plain),
            LOOP: loop(plain),
            **{name: loop(trainer(name, options)) for name, options in VARIANTS},
        }


def lines(characters: int) -> Iterator[str]:
    """Lines of random letters, of about so many characters together; they are as long as titles are."""
    random_ = random.Random(0)  # noqa: S311
    while characters > 0:
        length = max(1, round(random_.lognormvariate(math.log(40), 0.5)))
        characters -= length + 1
        yield "".join(random_.choices(ALPHABET, k=length)) + "\n"


class Silent(Reporter):
    """Says nothing, and works as much for it as one that writes to a log."""

    def say(self, line: str) -> None:
        """Drops a line."""


def loop(trainer: Trainer) -> Call:
    """One turn of the loop of `charloom train`."""

    def turn() -> int:
        assert not trainer.finished()
        trainer.advance()
        return round(trainer.batches.tokens_per_step)

    return turn


def bare(trainer: Trainer) -> Call:
    """One step of the network of a trainer, and nothing that is not the step."""
    device = trainer.hardware.device
    model = type(trainer.model)(trainer.model.config, trainer.model.inputs, trainer.model.outputs).to(device)
    rate = trainer.options.optimizer.learning_rate
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    read = [trainer.batches.chunk(0, i) for i in range(min(CHUNKS, trainer.batches.chunks))]
    chunks = cycle([(chunk.inputs.to(device), chunk.targets.to(device)) for chunk in read])
    state = trainer.model.initial_state(trainer.options.batches.batch)

    def turn() -> int:
        nonlocal state
        inputs, targets = next(chunks)  # [S, B]
        with trainer.hardware.autocast():
            scores, after = model(inputs, state)  # [S, B, V]
        loss = F.cross_entropy(scores.float().flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        state = model.detached(after)
        return inputs.numel()

    return turn


Measured = Mapping[tuple[Size, str], Mapping[str, float]]


def print_loop(measured: Measured) -> None:
    """What the loop adds to the bare steps, and how it stands beside char-rnn."""
    print_row("LSTM", "precision", "bare steps", "whole loop", "the loop takes", "to char-rnn")
    print_row(*["---"] * 6)
    for (size, precision), rates in measured.items():
        taken = f"{1 - rates[LOOP] / rates[BARE]:.1%}"
        times = f"{rates[LOOP] / CHAR_RNN:.1f}" if size.defaults else "-"
        print_row(size.name, precision, thousands(rates[BARE]), thousands(rates[LOOP]), taken, times)
    print(f"\nThe loop may take {MOST:.0%}. To char-rnn: to its {CHAR_RNN:,} characters a second at its")
    print(f"defaults, by Lua Torch in double precision, measured elsewhere; the bar is {TIMES} times that.")


def print_variants(measured: Measured) -> None:
    """The rate of each variant of training, as a share of the plain one."""
    print_row("LSTM", "precision", *(name for name, _ in VARIANTS))
    print_row(*["---"] * (2 + len(VARIANTS)))
    for (size, precision), rates in measured.items():
        print_row(size.name, precision, *(f"{rates[name] / rates[LOOP]:.0%}" for name, _ in VARIANTS))


def thousands(rate: float) -> str:
    """A rate as the tables have it."""
    return f"{rate / 1000:.1f}"


if __name__ == "__main__":
    main()
