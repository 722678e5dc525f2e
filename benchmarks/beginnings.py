"""Where texts begin: the share of generated texts whose first word begins some line of the training text.

It trains as `charloom train` does, with the options that follow the text, and generates from the best
checkpoint at temperature 1: without a prompt, which is a fresh state and the start token; after a newline;
and after a whole line and its newline, from a state that has been carried. The first share over the last
says whether a fresh stream begins where texts begin. Run with `make bench-beginnings TEXT=your.txt`.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processes import processor
from benchmarks.table import print_row
from export.exporter import build_bundle
from serving.local import LocalModel
from training.checkpoint import load_checkpoint

TOKENS = 40
"""Tokens generated of each text: more than a first word has."""
LINES = 128
"""Lines of the training text that a share of the texts follows each."""


@dataclass(frozen=True)
class Lines:
    """The lines of a training text that are not empty."""

    lines: Sequence[str]
    words: frozenset[str]
    """Their first words."""

    @classmethod
    def of(cls, text: str) -> "Lines":
        """Takes the lines of a text."""
        lines = [line for line in text.splitlines() if line.strip()]
        return cls(lines, frozenset(first_word(line) for line in lines))

    def begun(self, text: str) -> bool:
        """Whether a text begins with a word that begins a line."""
        return first_word(text) in self.words


def first_word(text: str) -> str:
    """The first word of a text; empty where it has none."""
    return next(iter(text.split(maxsplit=1)), "")


def main() -> None:
    """Prints a table as Markdown: a row for each seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="All other options are those of charloom train."
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--texts", type=int, default=512, help="texts of each kind")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="of the trainings")
    options, training = parser.parse_known_args()
    print(f"{processor()}; {options.texts} texts of each kind, temperature 1; {' '.join(training)}\n")
    print_row("seed", "validation loss", "no prompt", "newline", "whole line", "no prompt to whole line")
    print_row(*["---"] * 6)
    with TemporaryDirectory() as folder:
        for seed in options.seeds:
            run = Path(folder) / str(seed)
            train(options.text, run, ["--seed", str(seed), *training])
            print_row(str(seed), *measured(run, options.text, options.texts))


def train(text: Path, run: Path, options: Sequence[str]) -> None:
    """Trains on a text; what it says goes to standard error."""
    command = [sys.executable, "-m", "training", str(text), "--out", str(run), "--preview-length", "0"]
    subprocess.run([*command, *options], check=True)  # noqa: S603


def measured(run: Path, text: Path, count: int) -> list[str]:
    """The validation loss of a run and the shares of its texts that begin rightly, as the table has them."""
    summary = load_checkpoint(run).summary
    lines = Lines.of(text.read_text(encoding="utf-8")[: summary["text"]["train"]])
    model = LocalModel(build_bundle(run))
    before = random.Random(0).choices(lines.lines, k=LINES)  # noqa: S311
    fresh, newline, carried = (
        share(model, lines, prompts, -(-count // len(prompts)))
        for prompts in ([""], ["\n"], [f"{line}\n" for line in before])
    )
    ratio = f"{fresh / carried:.2f}" if carried else "-"
    return [f"{summary['validation_loss']:.4f}", *(f"{one:.2f}" for one in (fresh, newline, carried)), ratio]


def share(model: LocalModel, lines: Lines, prompts: Sequence[str], each: int) -> float:
    """The share of texts that begin rightly, so many after each prompt."""
    texts = [
        text
        for number, prompt in enumerate(prompts)
        for text in model.generate(prompt, n=each, seed=number * each, max_tokens=TOKENS)
    ]
    return sum(map(lines.begun, texts)) / len(texts)


if __name__ == "__main__":
    main()
