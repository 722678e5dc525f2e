"""Where texts begin: the share of generated texts whose first word begins some line of the training text.

It trains as `charloom train` does, with the options that follow the text, and generates from the best
checkpoint at temperature 1: without a prompt, which is a fresh state and the start token; after a newline;
and after a whole line and its newline, from a state that has been carried. The first share over the last
says whether a fresh stream begins where texts begin.

With `--records lines`, what is generated without a prompt shall be whole records: they end, and their first
and last three characters begin and end some record of the training part. Since new records may do neither,
the share is compared with that of the held-out ones. Run with `make bench-beginnings TEXT=your.txt`.
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
from charloom.options import GenerateOptions
from charloom.records.division import part_of
from export.exporter import build_bundle
from serving.local import LocalModel
from training.checkpoint import load_checkpoint
from training.data.config import CorpusConfig

TOKENS = 40
"""Tokens generated of each text: more than a first word has."""
EDGE = 3
"""Characters at each end of a record that tell whether it is whole."""
TEXTS = ("no prompt", "newline", "whole line", "no prompt to whole line")
RECORDS = ("ended", "whole", "whole of held-out ones", "whole to held-out")
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


@dataclass(frozen=True)
class Edges:
    """How the records of a training part begin and end."""

    beginnings: frozenset[str]
    endings: frozenset[str]

    @classmethod
    def of(cls, records: Sequence[str]) -> "Edges":
        """Takes the records."""
        return cls(frozenset(r[:EDGE] for r in records), frozenset(r[-EDGE:] for r in records))

    def whole(self, record: str) -> bool:
        """Whether a record that has ended begins and ends as some of them do."""
        return record[:EDGE] in self.beginnings and record[-EDGE:] in self.endings


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
    records = "--records" in training
    columns = RECORDS if records else TEXTS
    print_row("seed", "validation loss", *columns)
    print_row(*["---"] * (2 + len(columns)))
    with TemporaryDirectory() as folder:
        for seed in options.seeds:
            run = Path(folder) / str(seed)
            train(options.text, run, ["--seed", str(seed), *training])
            judged = measured_records if records else measured
            print_row(str(seed), *judged(run, options.text, options.texts))


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


def measured_records(run: Path, text: Path, count: int) -> list[str]:
    """The validation loss of a run and the shares of whole records, as the table has them."""
    records = [line for line in text.read_text(encoding="utf-8").splitlines() if line]
    fractions = CorpusConfig().train_fraction, CorpusConfig().validation_fraction
    training, held_out = ([r for r in records if part_of(r, *fractions) == part] for part in (0, 1))
    edges = Edges.of(training)
    longest = max(map(len, records))
    made, ended = [""] * count, [False] * count
    for piece in LocalModel(build_bundle(run)).stream(
        "", GenerateOptions(seed=0, max_tokens=longest), n=count
    ):
        made[piece.index] += piece.text
        ended[piece.index] = piece.ending is not None and piece.ending.finish == "end"
    pairs = zip(made, ended, strict=True)
    whole = sum(end and edges.whole(record) for record, end in pairs) / count
    real = sum(map(edges.whole, held_out)) / len(held_out)
    shares = (sum(ended) / count, whole, real, whole / real)
    return [f"{load_checkpoint(run).summary['validation_loss']:.4f}", *(f"{one:.3f}" for one in shares)]


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
