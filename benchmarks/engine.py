"""How fast the bare engine generates: tokens a second by model, batch and precision.

Beside it, measured in turn in the same run: (a) the same model with one call of onnxruntime a token
and sampling in numpy, which is what one writes first; (b) the model's matrix products alone, by the
fastest of several variants, which is the bound; (c) the same as (a) by OpenVINO in its
default precision. Every figure is the median of rounds that visit all variants in turn, so that a
machine whose speed drifts drifts under all of them alike. Run with `make bench-engine`.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import onnxruntime
import openvino

from benchmarks.bundles import make_bundle, make_run, precisions
from benchmarks.one_call import OneCall
from benchmarks.processes import processor
from benchmarks.products import ProductVariants
from benchmarks.race import Call, race
from benchmarks.table import print_row
from charloom.processor import available_cores, instruction_set
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request
from serving.model import Model
from training.checkpoint import load_checkpoint

FOREVER = 10**9
SETTLE = 20
"""Bursts until the engine has measured a step, and autotuned its bursts."""


def main() -> None:
    """Prints a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="128x2,512x2,1024x3", help="CELLSxLAYERS, comma-separated")
    parser.add_argument("--batches", default="1,8,64,256,1024", help="comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one variant in a round")
    parser.add_argument("--quick", action="store_true", help="a small model, and short: does it work?")
    options = parser.parse_args()
    if options.quick:
        options.models, options.batches, options.rounds, options.seconds = "32x2", "1,8", 1, 0.02
    print(f"{processor()}, {available_cores()} cores, {instruction_set()};")
    print(f"onnxruntime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]};")
    print(f"thousands of tokens a second, medians of {options.rounds}.\n")
    byte = "int8" in precisions()
    figures = {name: figure for name, figure in FIGURES.items() if byte or "int8" not in name}
    print_row("LSTM", "batch", *figures)
    print_row(*["---"] * (2 + len(figures)))
    for size in options.models.split(","):
        bench = EngineBench(size)
        for batch in map(int, options.batches.split(",")):
            rates = race(bench.variants(batch), options.rounds, options.seconds)
            print_row(size, f"{batch:,}", *(figure(rates) for figure in figures.values()))


class EngineBench:
    """One model, in all variants that are compared."""

    def __init__(self, size: str) -> None:
        run = make_run(size)
        bundle = make_bundle(run, *precisions())
        self.models = {
            precision: Model.load(bundle, RunnerConfig(device="cpu", precision=precision))
            for precision in precisions()
        }
        model = load_checkpoint(run).model()
        shapes = list(model.step_products)
        self.products = {precision: ProductVariants(shapes, precision) for precision in precisions()}
        self.one_call = OneCall(model)
        self.runtimes = {
            "one call a token": self.one_call.onnxruntime(),
            "OpenVINO": self.one_call.openvino(),
        }

    def variants(self, batch: int) -> dict[str, Call]:
        """The variants at this batch, by name."""
        variants: dict[str, Call] = {}
        for precision, model in self.models.items():
            variants[precision] = running_engine(model, batch)
            products = self.products[precision].variants(batch)
            variants |= {f"{precision} bound, {name}": call for name, call in products.items()}
        return variants | {
            name: self.one_call.generation(infer, batch) for name, infer in self.runtimes.items()
        }


def running_engine(model: Model, batch: int) -> Call:
    """A burst of an engine with `batch` endless streams."""
    engine = model.engine(SchedulerConfig(buffer_tokens=FOREVER))
    for seed in range(batch):
        engine.submit(Request(np.zeros(1, np.int64), FOREVER, seed))
    for _ in range(SETTLE):
        engine.step()
    return partial(generate, engine)


def generate(engine: Engine) -> int:
    """One burst."""
    return engine.step().generated


Rates = Mapping[str, float]


def bound(rates: Rates, precision: str) -> float:
    """The rate of a precision's matrix products alone, by the fastest variant."""
    return max(rate for name, rate in rates.items() if name.startswith(f"{precision} bound"))


FIGURES: dict[str, Callable[[Rates], str]] = {
    "float32": lambda rates: f"{rates['float32'] / 1000:.1f}",
    "of its products": lambda rates: f"{rates['float32'] / bound(rates, 'float32'):.0%}",
    "one call a token": lambda rates: f"{rates['one call a token'] / 1000:.1f}",
    "float32 to it": lambda rates: f"{rates['float32'] / rates['one call a token']:.2f}",
    "int8": lambda rates: f"{rates['int8'] / 1000:.1f}",
    "int8 to float32": lambda rates: f"{rates['int8'] / rates['float32']:.2f}",
    "of its products, int8": lambda rates: f"{rates['int8'] / bound(rates, 'int8'):.0%}",
    "OpenVINO": lambda rates: f"{rates['OpenVINO'] / 1000:.1f}",
    "int8 to OpenVINO": lambda rates: f"{rates['int8'] / rates['OpenVINO']:.2f}",
}


if __name__ == "__main__":
    main()
