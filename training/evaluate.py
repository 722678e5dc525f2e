"""Evaluates a checkpoint: the part of `charloom evaluate` that needs torch."""

import time
from pathlib import Path

from charloom.errors import require
from charloom.evaluation import Evaluation, measured
from charloom.evaluation_config import EvaluationConfig, Precision
from charloom.vocabulary import VOCABULARIES, VocabularyKinds
from networks.registry import NETWORKS, NetworkRegistry
from training.checkpoint import Checkpoint, load_checkpoint
from training.config import HardwareConfig, PrecisionName
from training.evaluation import held_out_loss
from training.hardware import enough_memory, resolve


def evaluate(
    path: Path,
    text: Path,
    config: EvaluationConfig,
    networks: NetworkRegistry = NETWORKS,
    vocabularies: VocabularyKinds = VOCABULARIES,
) -> Evaluation:
    """Measures the loss of a checkpoint over a text.

    Raises:
        CharloomError: the checkpoint, the text or a setting cannot be used.
    """
    require(config.precision != "int8", "precision", "int8 is that of a bundle, not of a checkpoint")
    checkpoint = load_checkpoint(path, networks, vocabularies)
    hardware = resolve(HardwareConfig(config.device, precision(checkpoint, config.precision)))
    of = measured(text, config, checkpoint.vocabulary, checkpoint.summary["text"])
    begun = time.monotonic()
    with enough_memory(lambda: f"no memory to measure {path}: lower --lanes, or try --device cpu"):
        model = checkpoint.model().to(hardware.device)
        loss = held_out_loss(model, of.batches, hardware).mean
    return Evaluation(
        model=checkpoint.name,
        kind="checkpoint",
        device=hardware.device.type,
        precision=hardware.precision,
        of=of,
        nats=loss * of.batches.answers,
        seconds=time.monotonic() - begun,
    )


def precision(checkpoint: Checkpoint, asked: Precision) -> PrecisionName:
    """Returns the precision to run in: the one asked for, else that of the run if this machine has it."""
    if asked == "auto":
        return "auto" if checkpoint.summary["hardware"].get("precision") == "bfloat16" else "float32"
    assert asked != "int8", "it was refused"
    return asked
