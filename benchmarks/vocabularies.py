"""How fast large vocabularies are sampled from: tokens a second, beside the products of the same shapes.

The models are of random weights, but their scores are spread as those of words are: each has about as many
likely tokens as a text has. Sampling is by temperature 1 alone, by top-k, by top-p, and by both. Run with
`make bench-engine`, or by itself as `python -m benchmarks.vocabularies`.
"""

import argparse
from functools import partial

import numpy as np
import onnxruntime
import torch

from benchmarks.bundles import WORK, precisions
from benchmarks.processes import processor
from benchmarks.products import ProductVariants
from benchmarks.race import Call, race
from benchmarks.table import print_row
from charloom.bundle import Bundle
from charloom.execution_class import Precision
from charloom.options import Sampling
from charloom.processor import available_cores, instruction_set
from charloom.vocabulary import CharacterVocabulary, no_tokens
from export.exporter import bundle_of
from networks.language_model import LanguageModel
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.executor import open_executor
from serving.engine.request import Request
from serving.model import Model
from training.checkpoint import Checkpoint

FOREVER = 10**9
SETTLE = 20
"""Bursts until the engine has measured a step, and autotuned its bursts."""
FIRST_CHARACTER = 0x10000
"""Code point of the first token: there are enough characters from there on, and no surrogates."""
SPREAD = 2.0
"""Standard deviation of the scores from one context to the next, about, in nats."""

SAMPLINGS = {
    "temperature 1": Sampling(),
    "top-k 40": Sampling(top_k=40),
    "top-p 0.9": Sampling(top_p=0.9),
    "top-k 40, top-p 0.9": Sampling(top_k=40, top_p=0.9),
}


def main() -> None:
    """Prints a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="512x2", help="CELLSxLAYERS")
    parser.add_argument("--vocabularies", default="10000,50000", help="tokens, comma-separated")
    parser.add_argument("--batches", default="1,64", help="streams, comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one variant in a round")
    parser.add_argument("--quick", action="store_true", help="a small model, and short: does it work?")
    options = parser.parse_args()
    if options.quick:
        options.model, options.vocabularies, options.batches = "32x1", "300", "1,4"
        options.rounds, options.seconds = 1, 0.02
    print(f"{processor()}, {available_cores()} cores, {instruction_set()};")
    print(
        f"onnxruntime {onnxruntime.__version__}; LSTM {options.model}, thousands of tokens a second, medians"
    )
    print(
        f"of {options.rounds}, and their share of what the products alone reach; *overhead*: what a step by"
    )
    print("temperature 1 takes beyond all products, as a multiple of the output's product.\n")
    print_row("vocabulary", "precision", "streams", "products", *SAMPLINGS, "overhead")
    print_row(*["---"] * (5 + len(SAMPLINGS)))
    for size in map(int, options.vocabularies.split(",")):
        model = random_model(options.model, size)
        for precision in precisions():
            served = serve(model, precision)
            for streams in map(int, options.batches.split(",")):
                rates = race(variants(served, model, streams), options.rounds, options.seconds)
                print_row(f"{size:,}", precision, f"{streams:,}", *figures(rates))


def random_model(size: str, tokens: int) -> LanguageModel:
    """An LSTM of CELLSxLAYERS over so many tokens, likely by Zipf's law and by what was read."""
    cells, layers = map(int, size.split("x"))
    torch.manual_seed(0)
    model = RecurrentModel(RecurrentConfig(cells=cells, layers=layers), tokens + 1, tokens)
    with torch.no_grad():
        for name, weight in model.recurrent.named_parameters():
            if name.startswith("weight"):
                weight.mul_(2)  # else a state hardly differs from another
        model.output.weight.normal_(0, SPREAD / 0.3 / cells**0.5)  # an h is about 0.3
        model.output.bias.copy_(-torch.log(torch.arange(tokens) + 3.0))
    return model


def serve(model: LanguageModel, precision: Precision) -> Model:
    """The model in a bundle that is written nowhere, without the proof that it is exact."""
    vocabulary = CharacterVocabulary(map(chr, range(FIRST_CHARACTER, FIRST_CHARACTER + model.outputs)))
    source = Checkpoint("random", model.config, vocabulary, model.state_dict(), {}, {}, no_tokens())
    bundle: Bundle = bundle_of(source, WORK / "random", (precision,))
    executor, _ = open_executor(bundle, RunnerConfig(device="cpu", precision=precision))
    return Model(bundle, executor)


def variants(served: Model, model: LanguageModel, streams: int) -> dict[str, Call]:
    """What is compared, by name."""
    *others, output = model.step_products
    precision = served.executor.precision
    calls: dict[str, Call] = {}
    for name, shapes in (("products", [*others, output]), ("output", [output])):
        products = ProductVariants(shapes, precision).variants(streams)
        calls |= {f"{name}, {variant}": call for variant, call in products.items()}
    for name, sampling in SAMPLINGS.items():
        calls[name] = running_engine(served, streams, sampling)
    return calls


def running_engine(model: Model, streams: int, sampling: Sampling) -> Call:
    """A burst of an engine with so many endless streams."""
    engine = model.engine(SchedulerConfig(buffer_tokens=FOREVER))
    for seed in range(streams):
        engine.submit(Request(np.zeros(1, np.int64), FOREVER, seed, sampling))
    for _ in range(SETTLE):
        engine.step()
    return partial(generate, engine)


def generate(engine: Engine) -> int:
    """One burst."""
    return engine.step().generated


def figures(rates: dict[str, float]) -> list[str]:
    """The cells of a row."""
    products, output = (
        max(rate for variant, rate in rates.items() if variant.startswith(f"{name}, "))
        for name in ("products", "output")
    )
    shown = [f"{rates[name] / 1000:.2f} ({rates[name] / products:.0%})" for name in SAMPLINGS]
    overhead = (1 / rates["temperature 1"] - 1 / products) * output
    return [f"{products / 1000:.2f}", *shown, f"{overhead:.2f}"]


if __name__ == "__main__":
    main()
