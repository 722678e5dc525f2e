"""Evaluates a bundle: the part of `charloom evaluate` that needs onnxruntime.

It runs the burst graphs on the rows themselves, without streams and engines, so that a text is read
exactly as training reads it.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charloom.bundle import Bundle
from charloom.burst import FULL_INPUTS, Feeds, StateSpec, neutral
from charloom.chunk import EvaluationBatches
from charloom.errors import ConfigError
from charloom.evaluation import Evaluation, measured
from charloom.evaluation_config import EvaluationConfig
from serving.engine.config import RunnerConfig
from serving.engine.executor import Executor, open_executor

PLACES = 2**13
"""Places of a burst at the most, K x B."""


def evaluate(path: Path, text: Path, config: EvaluationConfig) -> Evaluation:
    """Measures what a bundle makes of a text.

    Raises:
        CharloomError: the bundle, the text or a setting cannot be used.
    """
    if config.precision == "bfloat16":
        raise ConfigError("precision", "bfloat16 is that of a checkpoint, not of a bundle")
    bundle = Bundle.open(path)
    executor, _ = open_executor(bundle, RunnerConfig(config.device, config.precision))
    about = bundle.manifest.training.get("text")
    own = about if isinstance(about, dict) else {}
    of = measured(text, config, bundle.vocabulary, own)
    begun = time.monotonic()
    nats = total(executor, of.batches, bundle.vocabulary.size)
    return Evaluation(
        model=bundle.name,
        kind="bundle",
        device=executor.device,
        precision=executor.precision,
        of=of,
        nats=nats,
        seconds=time.monotonic() - begun,
    )


def total(executor: Executor, batches: EvaluationBatches, size: int) -> float:
    """The nats of all tokens that count; the vocabulary has so many."""
    state: Feeds = {}
    nats = 0.0
    for chunk in batches.chunks(PLACES):
        steps, rows = chunk.targets.shape
        before = continued(executor.state, state, chunk.carried, rows)
        feeds = neutral(FULL_INPUTS, B=rows, K=steps, V=size, W=1, N=1)
        feeds |= {"last": chunk.inputs[0], "forced": chunk.forced}
        feeds["forced_len"][:] = feeds["steps"][:] = steps
        outputs = executor.run("full", feeds | before)
        state = {spec.name: outputs[spec.output] for spec in executor.state}
        nats -= float(outputs["logprob"].sum(where=chunk.counted, dtype=np.float64))
    return nats


def continued(specs: Sequence[StateSpec], state: Feeds, carried: int, rows: int) -> Feeds:
    """The state in which rows begin a chunk: the first ones go on, all others are fresh."""
    fresh = {spec.name: spec.initial_rows(rows - carried) for spec in specs}
    if not carried:
        return fresh
    return {name: np.concatenate([state[name][:carried], fresh[name]]) for name in fresh}
