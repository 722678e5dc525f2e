"""Where the time of a burst goes, by onnxruntime's own profiler: microseconds a step by operator.

One thread, as a shard is computed; the plain graph. Profiling costs about a microsecond an operator,
which shows at small batches. Run with `make bench-profile`.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.bundles import WORK, make_bundle, make_run, precisions
from benchmarks.table import print_row
from charloom.bundle import Bundle
from charloom.burst import PLAIN_INPUTS, Feeds, neutral
from charloom.execution_class import Precision
from charloom.manifest import weights_file
from serving.engine.graph_reader import read_weights

STEPS, BURSTS = 16, 20
LISTED = 8
"""Operators that are named; the others are added up."""


def main() -> None:
    """Prints a table for each precision as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="512x2", help="CELLSxLAYERS")
    parser.add_argument("--batches", default="1,32,128", help="rows of one thread, comma-separated")
    options = parser.parse_args()
    batches = [int(batch) for batch in options.batches.split(",")]
    bundle = Bundle.open(make_bundle(make_run(options.model), *precisions()))
    for precision in precisions():
        times = {batch: profile(bundle, precision, batch) for batch in batches}
        print(f"\nLSTM {options.model}, {precision}: microseconds a step\n")
        print_row("operator", *(f"{batch} rows" for batch in batches))
        print_row("---", *["---"] * len(batches))
        names = [name for name, _ in times[batches[-1]].most_common(LISTED)]
        for name in names:
            print_row(name, *(f"{times[batch][name]:.0f}" for batch in batches))
        rest = {batch: sum(t for name, t in times[batch].items() if name not in names) for batch in batches}
        print_row("all others", *(f"{rest[batch]:.0f}" for batch in batches))


def profile(bundle: Bundle, precision: Precision, batch: int) -> Counter[str]:
    """Microseconds a step by operator."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(WORK / "profile")
    graph, weights = bundle.graph(precision, "plain"), bundle.weights(precision)
    tensors = read_weights(graph, weights_file(precision), weights)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
    options.add_external_initializers(list(tensors), values)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feeds = make_feeds(bundle, precision, batch)
    for _ in range(BURSTS):
        session.run(None, feeds)
    file = Path(session.end_profiling())
    events = json.loads(file.read_text())
    file.unlink()
    times: Counter[str] = Counter()
    for event in events:
        # The Scan's own time contains that of the operators in it.
        if event["name"].endswith("_kernel_time") and event["args"]["op_name"] != "Scan":
            times[event["args"]["op_name"]] += event["dur"] / BURSTS / STEPS
    return times


def make_feeds(bundle: Bundle, precision: Precision, batch: int) -> Feeds:
    """A burst in which every row samples."""
    random = np.random.default_rng(0)
    feeds = neutral(PLAIN_INPUTS, B=batch, K=STEPS)
    feeds["last"][:] = random.integers(0, bundle.vocabulary.size, batch)
    feeds["uniform"][:] = random.random((STEPS, batch))
    state = bundle.manifest.precisions[precision].state
    return feeds | {spec.name: spec.initial_rows(batch) for spec in state}


if __name__ == "__main__":
    main()
