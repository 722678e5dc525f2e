"""How fast the exported burst graph runs: tokens a second, by model size and batch.

Random weights, real random inputs; the CPU with all its cores. Every figure is the median of
`ROUNDS` rounds that visit all variants in turn, so that a machine whose speed drifts drifts under
all of them alike. Run with `make bench-burst`.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from charloom.burst import FULL_INPUTS, INPUTS, Feeds, GraphKind, StateSpec, neutral
from charloom.execution_class import instruction_set
from export.burst import FullBurst, PlainBurst
from export.onnx_graph import trace
from export.verify import Session
from training.model import ModelConfig, RecurrentModel
from training.step import Step

ROUNDS = 5
SECONDS = 0.3
"""How long a variant runs in a round."""
STEPS = 16
VOCABULARY = 65
BATCHES = (1, 8, 64, 256)


def main() -> None:
    """Prints a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="128x2,512x2", help="models, as CELLSxLAYERS, comma-separated")
    threads = torch.get_num_threads()
    print(f"{platform.processor() or platform.machine()}, {threads} threads, {instruction_set()}\n")
    print("| LSTM | batch | one call a step | burst of 16 | full graph | of numpy's sgemm |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in parser.parse_args().sizes.split(","):
        cells, layers = map(int, size.split("x"))
        session, state = build(cells, layers, threads)
        for batch in BATCHES:
            measure(session, state, cells, layers, batch)


def build(cells: int, layers: int, threads: int) -> tuple[Session, list[StateSpec]]:
    """Exports an untrained model."""
    torch.manual_seed(0)
    model = RecurrentModel(ModelConfig(cells=cells, layers=layers), VOCABULARY + 1, VOCABULARY).eval()
    step = Step(model)
    state = [StateSpec(name, "float32", (cells,)) for name in step.state_names]
    graphs: dict[GraphKind, bytes] = {
        "plain": trace(PlainBurst(step), VOCABULARY, state),
        "full": trace(FullBurst(step), VOCABULARY, state),
    }
    return Session(graphs, threads), state


def measure(session: Session, state: list[StateSpec], cells: int, layers: int, batch: int) -> None:
    """Prints one row of the table."""
    plain, single = make_feeds("plain", state, batch, STEPS), make_feeds("plain", state, batch, 1)
    full = make_feeds("full", state, batch, STEPS)
    left, right = np.random.rand(batch, cells).astype("f4"), np.random.rand(cells, 4 * cells).astype("f4")
    variants: dict[str, tuple[Callable[[], object], float]] = {
        "single": (lambda: session.run("plain", single), batch),
        "burst": (lambda: session.run("plain", plain), batch * STEPS),
        "full": (lambda: session.run("full", full), batch * STEPS),
        "sgemm": (lambda: left @ right, 2.0 * batch * cells * 4 * cells),
    }
    rates = race(variants)
    work = 2.0 * (4 * cells * cells * (2 * layers - 1) + cells * VOCABULARY)  # products of one token
    share = rates["burst"] * work / rates["sgemm"]
    columns = (f"{rates[name] / 1000:.1f} k" for name in ("single", "burst", "full"))
    print(f"| {layers} x {cells} | {batch} | {' | '.join(columns)} | {share:.0%} |", flush=True)


def race(variants: dict[str, tuple[Callable[[], object], float]]) -> dict[str, float]:
    """Work per second of each variant, the median of the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, (run, work) in variants.items():
            run()
            begun, calls = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - begun) < SECONDS:
                run()
                calls += 1
            rates[name].append(calls * work / elapsed)
    return {name: statistics.median(values) for name, values in rates.items()}


def make_feeds(kind: GraphKind, state: list[StateSpec], batch: int, steps: int) -> Feeds:
    """A burst in mid-text in which every row samples; the full graph's filters are all on."""
    random = np.random.default_rng(0)
    feeds = neutral(INPUTS[kind], B=batch, K=steps, V=VOCABULARY, W=64, N=4)
    feeds["last"][:] = random.integers(0, VOCABULARY, batch)
    feeds["steps"][:] = steps
    feeds["uniform"][:] = random.random((steps, batch))
    if kind == "full":
        assert len(feeds) == len(FULL_INPUTS)
        feeds["top_k"][:], feeds["top_p"][:], feeds["min_p"][:] = 40, 0.9, 0.02
    hidden = {spec.name: np.tanh(random.standard_normal((batch, *spec.shape))) for spec in state}
    return feeds | {name: value.astype(np.float32) for name, value in hidden.items()}


if __name__ == "__main__":
    main()
