"""On a machine with an NVIDIA GPU: trains, exports and serves on it, and compares with its CPU.

Runs in an environment with onnxruntime-gpu in place of onnxruntime; `make gpu-check` makes one. Training
is stopped and resumed, no step of it may wait for the GPU, its speed is measured beside cuDNN's bare
steps, and with `--text FILE` the minutes that it takes to a validation loss. `--rehearse` goes through
the training checks on the CPU, small, and through nothing else: it says whether this program works, and
nothing of a GPU.

Between two execution classes texts need not agree to the byte. What must hold: the log-probabilities
that both give the same tokens agree to rounding, and each class is exact within itself.
"""

import argparse
import pydoc_data.topics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.training import SIZES, TINY
from charloom.burst import FULL_INPUTS, neutral
from charloom.options import Sampling
from networks.recurrent.config import RecurrentConfig
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.engine.request import Request
from serving.model import Model
from tools.gpu_training import check_resume, check_steps, print_speed, reach
from training.config import DeviceName, HardwareConfig, PrecisionName, RunConfig
from training.hardware import resolve
from training.options import Options
from training.reporting.config import PreviewConfig

WORK = Path("build/gpu-check")
BOUND = 1e-2
"""Largest difference of a log-probability in nats: a GPU may round its products to 10 bits (TF32)."""
TOKENS = 2000
BATCHES = (1, 64, 256)


@dataclass(frozen=True)
class Texts:
    """What one device generates."""

    model: Model
    greedy: str
    sampled: str


def main() -> int:
    """Runs every check; gives the exit code."""
    options = arguments()
    WORK.mkdir(parents=True, exist_ok=True)
    text = WORK / "text.txt"
    topics = pydoc_data.topics.topics
    text.write_text("\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
    if options.rehearse:
        return 0 if check_training(options, text, "cpu") else complain("training on the CPU does not resume")
    if not torch.cuda.is_available():
        return complain("PyTorch finds no CUDA device")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return complain(
            "this onnxruntime has no CUDA: run `make gpu-check`, which makes an environment with it"
        )
    run, bundle = WORK / "run", WORK / "bundle"
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    if not check_training(options, text, "cuda"):
        return complain("training failed a check")
    charloom("train", text, "--out", run, "--device", "cuda", "--max-minutes", 1, "--overwrite")
    charloom("export", run, "--out", bundle, "--overwrite")
    cuda, cpu = (generate(bundle, device) for device in ("cuda", "cpu"))
    for name, one, other in (("greedy", cuda.greedy, cpu.greedy), ("sampled", cuda.sampled, cpu.sampled)):
        print(f"{name} text: the first {common(one, other)} of {TOKENS} characters equal on both devices")
    difference = compare(cuda.model, cpu.model, cpu.sampled)
    print(f"log-probabilities of {TOKENS} characters differ by at most {difference:.1e} nats")
    for batch in BATCHES:
        rates = [rate(texts.model, batch) for texts in (cuda, cpu)]
        print(f"batch {batch}: {rates[0]:,.0f} tokens/s on CUDA, {rates[1]:,.0f} on the CPU")
    return complain(f"the bound is {BOUND:g}") if not difference <= BOUND else 0


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="a text to train on until --target")
    parser.add_argument("--target", type=float, default=1.45, help="validation loss, nats a character")
    parser.add_argument("--minutes", type=float, default=30, help="that this may take")
    parser.add_argument("--cells", type=int, default=512, help="of its two layers")
    parser.add_argument("--rehearse", action="store_true", help="the training checks on the CPU, small")
    return parser.parse_args()


def check_training(options: argparse.Namespace, text: Path, device: DeviceName) -> bool:
    """Resumes, measures, and trains to a loss if there is a text for it; gives whether all was well."""
    precisions: list[PrecisionName] = ["float32"] if options.rehearse else ["float32", "auto"]
    well = True
    for precision in precisions:
        hardware = resolve(HardwareConfig(device=device, precision=precision))
        well &= check_resume(text, WORK / "resume", hardware, 16 if options.rehearse else 512)
        well &= check_steps(text, WORK / "steps", hardware)
        sizes, rounds, seconds = (TINY, 1, 0.02) if options.rehearse else (SIZES, 5, 3)
        print_speed(sizes, hardware, rounds, seconds)
    if options.text is None:
        return well
    config = Options(
        model=RecurrentConfig(cells=options.cells),
        run=RunConfig(max_minutes=options.minutes),
        preview=PreviewConfig(preview_length=0),
    )
    return reach(options.text, WORK / "reach", hardware, config, options.target) and well


def charloom(*arguments: object) -> None:
    """Runs a command."""
    subprocess.run([sys.executable, "-m", "charloom", *map(str, arguments)], check=True)


def generate(bundle: Path, device: str) -> Texts:
    """Loads the bundle on a device, which proves it exact there, and generates two texts."""
    model = Model.load(bundle, RunnerConfig(device=device))  # type: ignore[arg-type]
    print(f"{device}: exact on {model.executor.execution_class}")
    return Texts(model, text_of(model, Sampling(temperature=0)), text_of(model, Sampling()))


def text_of(model: Model, sampling: Sampling) -> str:
    """One text from a fresh stream."""
    engine = model.engine(SchedulerConfig(max_streams=1))
    stream = engine.submit(Request(model.bundle.vocabulary.encode(""), TOKENS, 1, sampling))
    text = ""
    while not engine.empty:
        for update in engine.step().updates:
            if update.error is not None:
                raise update.error
            stream.consumed = stream.released
            text += update.text
    return text


def common(one: str, other: str) -> int:
    """Length of the beginning that two texts share."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def compare(one: Model, other: Model, text: str) -> float:
    """Largest difference of the log-probabilities that two devices give the same text."""
    first, second = (score(model, text) for model in (one, other))
    return float(np.abs(first - second).max())


def score(model: Model, text: str) -> "np.ndarray":  # type: ignore[type-arg]
    """Log-probability [T] of every character of a text."""
    tokens = model.bundle.vocabulary.encode(text)
    feeds = neutral(FULL_INPUTS, B=1, K=len(tokens), V=model.bundle.vocabulary.size, W=1, N=1)
    feeds["last"][:] = model.bundle.vocabulary.start
    feeds["forced"][:, 0] = tokens
    feeds["forced_len"][:] = feeds["steps"][:] = len(tokens)
    feeds |= {spec.name: spec.initial_rows(1) for spec in model.executor.state}
    return model.executor.run("full", feeds)["logprob"][:, 0]


def rate(model: Model, batch: int) -> float:
    """Tokens a second of the engine with a full batch."""
    engine = model.engine(SchedulerConfig(max_streams=batch))
    prompt = model.bundle.vocabulary.encode("")
    for seed in range(batch):
        engine.submit(Request(prompt, 1000, seed))
    begun, generated = time.perf_counter(), 0
    while not engine.empty:
        report = engine.step()
        generated += report.generated
        for update in report.updates:
            update.stream.consumed = update.stream.released
    return generated / (time.perf_counter() - begun)


def complain(reason: str) -> int:
    """Says what is wrong; gives the exit code."""
    print(f"gpu-check: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
