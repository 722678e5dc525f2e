"""The `evaluate` command: how well a checkpoint or a bundle predicts a text.

It finds out which of the two a path is and loads the function that can run it; neither is imported before.
"""

import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from charloom.evaluation_config import EvaluationConfig, EvaluationError

if TYPE_CHECKING:
    from charloom.evaluation import Evaluation

EVALUATORS = {"checkpoint": "training.evaluate:evaluate", "bundle": "serving.commands.evaluate:evaluate"}
"""Kind of model to the function that evaluates it, loaded when it is called."""


def evaluate(
    model: Path,
    text: Path,
    /,
    *,
    options: Annotated[EvaluationConfig, Parameter(name="*")] = EvaluationConfig(),
    json: bool = False,
) -> None:
    """Say how well a checkpoint or a bundle predicts a text.

    Args:
        model: Folder of a run, for its best checkpoint, or of one checkpoint, or directory of a bundle.
        text: File of the text, in UTF-8.
        options: What to measure, and how.
        json: Write a JSON object, for programs.
    """
    measure = pkgutil.resolve_name(EVALUATORS[kind(model)])
    evaluation: Evaluation = measure(model, text, options)
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    sys.stdout.write(as_json(evaluation) if json else as_lines(evaluation))


def kind(model: Path) -> str:
    """Whether a path is that of a checkpoint or of a bundle.

    Raises:
        EvaluationError: there is nothing.
    """
    from charloom.manifest import MANIFEST

    if (model / MANIFEST).is_file():
        return "bundle"
    if not model.exists():
        raise EvaluationError(f"there is neither a checkpoint nor a bundle at {model}")
    return "checkpoint"


def as_lines(evaluation: "Evaluation") -> str:
    """The evaluation for people."""
    of = evaluation.of
    part = "" if of.part == "whole" else f", {of.part} part"
    about = {
        "model": f"{evaluation.model} ({evaluation.kind}, {evaluation.precision}, {evaluation.device})",
        "text": f"{of.text}{part}: {of.characters:,} characters, {of.batches.answers:,} tokens",
        "method": of.method,
        "nats/token": f"{evaluation.nats_per_token:.4f}",
        "bits/character": f"{evaluation.bits_per_character:.4f}",
        "perplexity/token": f"{evaluation.perplexity_per_token:.4f}",
        "nats in all": f"{evaluation.nats:.1f}",
        "took": f"{evaluation.seconds:.1f} s, {evaluation.characters_per_second:,.0f} characters/s",
    }
    if of.skipped:
        about["skipped"] = f"{of.skipped:,} characters that the model does not know; they do not count"
    if of.seen:
        about["note"] = "the model was trained on this text; --part validation is what it was not trained on"
    return "".join(f"{name:17} {value}\n" for name, value in about.items())


def as_json(evaluation: "Evaluation") -> str:
    """The evaluation for programs; NaN and infinity become null."""
    of = evaluation.of
    about: dict[str, Any] = {
        "model": evaluation.model,
        "kind": evaluation.kind,
        "precision": evaluation.precision,
        "device": evaluation.device,
        "text": of.text,
        "part": of.part,
        "trained_on": of.seen,
        "characters": of.characters,
        "tokens": of.batches.answers,
        "skipped": of.skipped,
        "lanes": of.lanes,
        "method": of.method,
        "nats": evaluation.nats,
        "nats_per_token": evaluation.nats_per_token,
        "bits_per_character": evaluation.bits_per_character,
        "perplexity_per_token": evaluation.perplexity_per_token,
        "seconds": evaluation.seconds,
    }
    return msgspec.json.encode(about).decode() + "\n"
