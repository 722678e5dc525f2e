"""Evaluates a bundle: the part of `charloom evaluate` that needs onnxruntime.

It runs the burst graphs on the lanes themselves, without streams and engines, so that a text is read
exactly as training reads it.
"""

import time
from pathlib import Path

import numpy as np

from charloom.bundle import Bundle
from charloom.burst import FULL_INPUTS, Feeds, neutral
from charloom.errors import ConfigError
from charloom.evaluation import Evaluation, measured
from charloom.evaluation_config import EvaluationConfig
from charloom.evaluation_lanes import UNCOUNTED, EvaluationLanes
from charloom.text_file import read_text
from serving.engine.config import RunnerConfig
from serving.engine.executor import Executor, open_executor


def evaluate(path: Path, text: Path, config: EvaluationConfig) -> Evaluation:
    """Measures what a bundle makes of a text.

    Raises:
        CharloomError: the bundle, the text or a setting cannot be used.
    """
    if config.precision == "bfloat16":
        raise ConfigError("precision", "bfloat16 is that of a checkpoint, not of a bundle")
    bundle = Bundle.open(path)
    executor, _ = open_executor(bundle, RunnerConfig(config.device, config.precision))
    content, _ = read_text(text)
    about = bundle.manifest.training.get("text")
    own = about if isinstance(about, dict) else {}
    of = measured(content, str(text), config, bundle.vocabulary, own)
    lanes = EvaluationLanes(of.tokens, bundle.vocabulary.start, config.lanes)
    begun = time.monotonic()
    nats = total(executor, lanes, bundle.vocabulary.size)
    return Evaluation(
        model=bundle.name,
        kind="bundle",
        device=executor.device,
        precision=executor.precision,
        of=of,
        lanes=lanes.count,
        nats=nats,
        seconds=time.monotonic() - begun,
    )


def total(executor: Executor, lanes: EvaluationLanes, size: int) -> float:
    """The nats of all tokens of a text; the vocabulary has so many."""
    state = primed_state(executor, lanes)
    nats = 0.0
    for inputs, targets in lanes.chunks():
        counted = targets != UNCOUNTED  # [K, B]
        feeds = neutral(FULL_INPUTS, B=lanes.count, K=len(targets), V=size, W=1, N=1)
        feeds |= {"last": inputs[0], "forced": np.where(counted, targets, 0)}
        feeds["forced_len"][:] = feeds["steps"][:] = len(targets)
        outputs = executor.run("full", feeds | state)
        state = {spec.name: outputs[spec.output] for spec in executor.state}
        nats -= float(outputs["logprob"].sum(where=counted, dtype=np.float64))
    return nats


def primed_state(executor: Executor, lanes: EvaluationLanes) -> Feeds:
    """The state in which each lane begins."""
    first = {spec.name: spec.initial_rows(1) for spec in executor.state}
    others = lanes.count - 1
    if not others:
        return first
    prime = lanes.prime()  # [P, B - 1]
    # A step feeds the token before it; the last one of all is fed first when the lanes begin.
    forced = np.concatenate([prime[1:], np.zeros((1, others), np.int64)])
    state = {spec.name: spec.initial_rows(others) for spec in executor.state}
    outputs = executor.run("read", {"last": prime[0], "forced": forced} | state)
    return {spec.name: np.concatenate([first[spec.name], outputs[spec.output]]) for spec in executor.state}
