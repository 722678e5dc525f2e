"""MOSES: how good the molecules are that a model of SMILES writes, beside the CharRNN of that benchmark.

Polykovskiy et al. 2020, "Molecular Sets (MOSES)", https://doi.org/10.3389/fphar.2020.565644: 1.58 million
SMILES to train on; of 30,000 that are generated, the shares that are valid, unique among the first 10,000
valid ones, new, and pass the filters. Its published CharRNN, of 3 x 768 cells and trained on a GPU, has
0.9748 valid (0.9598 in the first edition), 0.9994 unique, and 0.9943 that pass. The texts are read as records
and generated at temperature 1, without a prompt and without any filter. Run with `make bench-moses`; it takes
an hour and a half.
"""

import argparse
import csv
import gzip
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rdkit import Chem, RDLogger

from benchmarks.processes import processor
from benchmarks.table import print_row
from export.exporter import build_bundle
from serving.local import LocalModel
from training.checkpoint import load_checkpoint

DISTRIBUTION = "molsets==0.3.1"
"""What holds the data; it is unpacked and not installed, since it needs much older libraries."""
TRAINING, FILTERS = (
    "moses/dataset/data/train.csv.gz",
    ("moses/metrics/mcf.csv", "moses/metrics/wehi_pains.csv"),
)
TEXTS = 30_000
FIRST = 10_000
"""Valid molecules among which the unique ones are counted."""
RING = 8
"""Atoms of a ring that is too large to pass."""
ELEMENTS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
PUBLISHED = {"valid": 0.9748, "unique@10k": 0.9994, "novel": 0.8419, "filters": 0.9943}
"""Of MOSES' CharRNN: the mean of three trainings."""
OPTIONS = (
    *("--cells", "384", "--layers", "2", "--batch", "128", "--length", "64"),
    *(
        "--optimizer",
        "muon",
        "--dropout",
        "0",
        "--epochs",
        "10",
    ),  # the hour ends it, before the text is read twice
)


@dataclass(frozen=True)
class MolecularSets:
    """The data of the benchmark, as its distribution has it."""

    wheel: Path

    @classmethod
    def downloaded(cls, folder: Path) -> "MolecularSets":
        """Downloads the distribution into a folder, unless it is there."""
        if not list(folder.glob("molsets-*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
            subprocess.run([*command, DISTRIBUTION], check=True)  # noqa: S603
        (wheel,) = folder.glob("molsets-*.whl")
        return cls(wheel)

    def write_training(self, path: Path) -> None:
        """Writes the training set as a CSV file with the column SMILES."""
        with zipfile.ZipFile(self.wheel) as archive:
            path.write_bytes(gzip.decompress(archive.read(TRAINING)))

    @cached_property
    def filters(self) -> list[Any]:
        """The substructures that none of the molecules has: medicinal chemistry filters and PAINS."""
        with zipfile.ZipFile(self.wheel) as archive:
            patterns = []
            for name in FILTERS:
                with archive.open(name) as stream:
                    rows = list(csv.reader(TextIOWrapper(stream, "utf-8")))
                patterns += [row[1] for row in rows[1:]] if name == FILTERS[0] else [row[0] for row in rows]
        return [Chem.MolFromSmarts(pattern.strip()) for pattern in patterns]

    def passes(self, molecule: Any) -> bool:
        """Whether a molecule has none of what filters out: large rings, charges, elements, substructures."""
        if any(len(ring) >= RING for ring in molecule.GetRingInfo().AtomRings()):
            return False
        if any(atom.GetFormalCharge() or atom.GetSymbol() not in ELEMENTS for atom in molecule.GetAtoms()):
            return False
        whole = Chem.AddHs(molecule)
        return not any(whole.HasSubstructMatch(pattern) for pattern in self.filters)


def main() -> None:
    """Prints a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="All other options are those of training.")
    parser.add_argument("--folder", type=Path, default=Path("build/moses"), help="of the data and the run")
    parser.add_argument("--minutes", type=float, default=60, help="of training; 0: the run is there already")
    parser.add_argument("--texts", type=int, default=TEXTS)
    options, more = parser.parse_known_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    sets, table, run = MolecularSets.downloaded(folder), folder / "train.csv", folder / "run"
    if not table.exists():
        sets.write_training(table)
    if options.minutes:
        train(table, run, options.minutes, [*OPTIONS, *more])
    RDLogger.DisableLog("rdApp.*")
    summary = load_checkpoint(run).summary
    texts = LocalModel(build_bundle(run)).generate(n=options.texts, seed=1, max_tokens=200)
    print(f"{processor()}; {summary['parameters']:,} parameters, {summary['seconds'] / 60:.0f} minutes, ")
    print(f"validation loss {summary['validation_loss']:.4f}; {options.texts:,} texts at temperature 1\n")
    print_row("", *PUBLISHED)
    print_row(*["---"] * (1 + len(PUBLISHED)))
    print_row("Charloom", *(f"{value:.4f}" for value in measured(texts, table, sets)))
    print_row("MOSES' CharRNN, published", *(f"{value:.4f}" for value in PUBLISHED.values()))


def train(table: Path, run: Path, minutes: float, options: Sequence[str]) -> None:
    """Trains on the records of the table; what it says goes to standard error."""
    command = [sys.executable, "-m", "charloom", "train", str(table), "--text-column", "SMILES"]
    limits = ["--out", str(run), "--overwrite", "--max-minutes", str(minutes)]
    subprocess.run([*command, *limits, *options], check=True)  # noqa: S603


def measured(texts: Sequence[str], table: Path, sets: MolecularSets) -> list[float]:
    """The shares of texts that are valid, unique, new, and pass the filters; the last two of valid ones."""
    parsed = [Chem.MolFromSmiles(text) for text in texts]
    molecules = [molecule for molecule in parsed if molecule is not None and molecule.GetNumAtoms()]
    names = [Chem.MolToSmiles(molecule) for molecule in molecules]
    first = names[:FIRST]
    with table.open(encoding="utf-8") as stream:
        known = {row["SMILES"] for row in csv.DictReader(stream)}
    distinct = set(names)
    return [
        len(molecules) / len(texts),
        len(set(first)) / max(1, len(first)),
        len(distinct - known) / max(1, len(distinct)),
        sum(map(sets.passes, molecules)) / max(1, len(molecules)),
    ]


if __name__ == "__main__":
    main()
