"""Makes the golden bundles and adds what they answer on this machine to the file of their answers.

    make golden                     the bundles as they are: adds what is not yet recorded
    make golden GOLDEN=--overwrite  records anew what this machine answers otherwise
    make golden GOLDEN=--rebuild    builds the graphs anew from the same weights; answers must stay
    make golden GOLDEN=--bundles    makes new bundles, and records what they answer here

What the bundles are asked, and how answers are written down, stands in `tests/serving/golden.py`.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from charloom.bundle import Bundle, BundleWriter
from charloom.burst import Feeds, GraphKind
from charloom.errors import CharloomError
from charloom.execution_class import Precision
from charloom.processor import multiplies_bytes
from charloom.vocabulary import CharacterVocabulary
from export.exporter import Exporter
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from serving.engine.config import RunnerConfig
from serving.engine.executor import Executor
from serving.model import Model
from tests.serving.golden import (
    BY_CLASS,
    CELLS,
    EVERYWHERE,
    FOLDER,
    TEXTS,
    Answers,
    Recorded,
    ask,
    everywhere,
    read_texts,
    write_texts,
)
from training.checkpoint import Checkpoint

VOCABULARY = CharacterVocabulary.of_text("привет 🚀🎉 the ship sails on, ocean blue!\n")
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
WORK = Path("build/golden")
"""Where new bundles lie until they have answered."""
GRID = 64
"""Weights are multiples of 1 / GRID: what an export multiplies is exact, and its graphs the same anywhere."""
SPREAD = 3.0
"""Standard deviation of the sum of a cell's or a token's inputs, if all of them were 1 or -1."""
SHAKES = 25
SHAKE = 1e-4
"""Share by which numbers are changed: a thousand times what processors differ by."""
SHAKEN = 0.01
"""Share of the bytes that are changed by 1."""


class GoldenError(CharloomError):
    """What was found may not be recorded."""


def main() -> int:
    """Makes what is asked for; gives the exit code."""
    parser = argparse.ArgumentParser(prog="make golden")
    parser.add_argument("--overwrite", action="store_true", help="record anew what is answered otherwise")
    parser.add_argument("--rebuild", action="store_true", help="build the graphs anew; answers must stay")
    parser.add_argument("--bundles", action="store_true", help="make new bundles, and forget all answers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    makes = options.bundles or options.rebuild
    if makes and not multiplies_bytes():
        return complain("this processor has no VNNI, so it cannot verify the int8 of new bundles")
    bundles, recorded = read_texts()
    folder = WORK if makes else FOLDER
    try:
        if makes:
            bundles = {cell: write_bundle(folder / cell, cell).digest for cell in CELLS}
        if options.bundles:
            recorded = {}
        for precision in PRECISIONS if multiplies_bytes() else PRECISIONS[:1]:
            for cell in CELLS:
                found = answers(folder / cell, cell, precision, bundles[cell])
                recorded = merge(recorded, found, overwrite=options.overwrite)
    except CharloomError as error:
        return complain(str(error))
    for cell in CELLS if makes else ():
        shutil.rmtree(FOLDER / cell, ignore_errors=True)
        shutil.copytree(folder / cell, FOLDER / cell)
    write_texts(bundles, recorded)
    print(f"wrote {TEXTS}: {', '.join(recorded)}")
    return 0


def golden_model(cell: str) -> RecurrentModel:
    """A small network of weights that are made, not learnt: the same on every machine."""
    config = RecurrentConfig(cell, layers=2, cells=8, embedding=4)  # type: ignore[arg-type]
    model = RecurrentModel(config, VOCABULARY.inputs, VOCABULARY.size).eval()
    source = np.random.Philox(key=CELLS.index(cell))
    with torch.no_grad():
        for parameter in model.parameters():
            most = round(GRID * SPREAD * (3 / parameter.shape[-1]) ** 0.5)
            raw = source.random_raw(parameter.numel()) >> np.uint64(32)
            whole = raw.astype(np.int64) % (2 * most + 1) - most
            parameter.copy_(torch.from_numpy(whole / GRID).reshape(parameter.shape))
    return model


def write_bundle(path: Path, cell: str) -> Bundle:
    """Exports and verifies the network of a cell, as the command does."""
    model = golden_model(cell)
    text = VOCABULARY.encode("".join(VOCABULARY.characters) * 100)
    source = Checkpoint("golden", model.config, VOCABULARY, model.state_dict(), {}, {}, text)
    with BundleWriter(path, overwrite=True) as writer:
        return Exporter(source, max_cost=1).export(writer, PRECISIONS, f"golden-{cell}")


def answers(path: Path, cell: str, precision: Precision, digest: str) -> Recorded:
    """What a bundle answers here, each case asked alone."""
    model = Model.load(path, RunnerConfig("cpu", precision, threads=1))
    if model.bundle.digest != digest:
        raise GoldenError(f"{model.bundle.path} is not what answered: restore it, or pass --bundles")
    expect_wide_margins(model)
    found = {name: ask(model, {name: case})[name] for name, case in (EVERYWHERE | BY_CLASS).items()}
    return {
        everywhere(precision): {cell: {name: found[name] for name in EVERYWHERE}},
        str(model.executor.execution_class): {cell: {name: found[name] for name in BY_CLASS}},
    }


class Shaken:
    """Runs bursts after each of which the state is a little off."""

    def __init__(self, executor: Executor, seed: int) -> None:
        self.executor = executor
        self.state = executor.state
        self.random = np.random.default_rng(seed)

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst."""
        outputs = self.executor.run(kind, feeds)
        for spec in self.state:
            state = outputs[spec.output]
            noise = self.random.uniform(-1, 1, state.shape)
            if spec.dtype == "uint8":
                moved = state + np.sign(noise) * (np.abs(noise) < SHAKEN)
                outputs[spec.output] = moved.clip(1, 255).astype(np.uint8)
            else:
                outputs[spec.output] = (state * (1 + SHAKE * noise)).astype(np.float32)
        return outputs


def expect_wide_margins(model: Model) -> None:
    """Sees that what is to hold everywhere does not hang on a close call: small errors change none of it."""
    steady = ask(model, EVERYWHERE)
    for seed in range(SHAKES):
        shaken = ask(model, EVERYWHERE, Shaken(model.executor, seed), max_burst=1)
        if close := [name for name, found in shaken.items() if found != steady[name]]:
            reason = "another processor may answer otherwise: choose another prompt or seed"
            raise GoldenError(f"{model.name} in {model.executor.precision}: {', '.join(close)}: {reason}")


def merge(recorded: Recorded, found: Recorded, *, overwrite: bool = False) -> Recorded:
    """The record with what was found added; what other machines answered stays.

    Raises:
        GoldenError: something recorded would change, and `overwrite` is off.
    """
    merged = {place: dict(of_place) for place, of_place in recorded.items()}
    for place, cell, new in flat(found):
        old = merged.setdefault(place, {}).get(cell, {})
        changed = [name for name in old if old[name] != new.get(name)]
        if changed and not overwrite:
            reason = "if that is meant, make golden GOLDEN=--overwrite"
            raise GoldenError(f"{cell}, {place}: answers other than recorded: {', '.join(changed)}; {reason}")
        merged[place][cell] = new
    return merged


def flat(recorded: Recorded) -> Iterator[tuple[str, str, Answers]]:
    """Place, cell and answers, one after the other."""
    for place, of_place in recorded.items():
        for cell, of_cell in of_place.items():
            yield place, cell, of_cell


def complain(reason: str) -> int:
    """Says what is wrong; gives the exit code."""
    print(f"golden: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
