"""Checkpoints: what training leaves behind at one moment, in a directory of its own.

    checkpoint.json         options, vocabulary, summary, progress, and a digest of every other file
    weights.safetensors     the model
    training.safetensors    what only going on needs: optimiser, carried state
    held_out.txt            real text that the model was not trained on

A checkpoint is complete and is never changed: it is written under another name and then renamed.
Nothing in it is pickled. This file knows nothing of how training goes on.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from charloom.errors import CharloomError, require
from charloom.vocabulary import VOCABULARIES, Vocabulary, VocabularyKinds, read_vocabulary
from networks.recurrent import ModelConfig, RecurrentModel

FORMAT = 1
KIND = "charloom checkpoint"
PARTIAL = ".partial-"
"""What the names of unfinished and of discarded checkpoints begin with."""

MANIFEST, WEIGHTS, TRAINING, TEXT = (
    "checkpoint.json",
    "weights.safetensors",
    "training.safetensors",
    "held_out.txt",
)


class CheckpointError(CharloomError):
    """A checkpoint is missing, damaged, or none at all."""

    exit_code = 9


class SaveError(CharloomError):
    """A checkpoint could not be written."""

    exit_code = 10


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and where it comes from."""

    name: str
    config: ModelConfig
    vocabulary: Vocabulary
    weights: Mapping[str, Tensor]
    """The model's tensors by name, float32 on the CPU."""
    summary: dict[str, Any]
    """Text, epoch, steps, losses in nats a token and bits a character, hardware: for people and manifests."""
    options: dict[str, Any]
    """All options of the run, by group."""
    held_out: str
    """The beginning of the validation text, up to 20,000 tokens."""

    def model(self) -> RecurrentModel:
        """The model on the CPU, in float32, ready to evaluate."""
        model = RecurrentModel(self.config, self.vocabulary.inputs, self.vocabulary.size)
        model.load_state_dict(self.weights)
        return model.eval()


@dataclass(frozen=True)
class TrainingState:
    """What going on needs beside the checkpoint itself."""

    progress: dict[str, Any]
    tensors: dict[str, Tensor]


def load_checkpoint(path: Path, vocabularies: VocabularyKinds = VOCABULARIES) -> Checkpoint:
    """Reads a checkpoint: its directory, the `best` or `last` of a run, or a run, meaning its best.

    Raises:
        CheckpointError: it is missing, damaged or something else; the message names the file.
    """
    folder = find_checkpoint(path)
    manifest = read_manifest(folder)
    weights = read_tensors(folder, WEIGHTS, manifest)
    held_out = read_file(folder, TEXT, manifest).decode()
    try:
        options = upgraded(manifest["options"])
        checkpoint = Checkpoint(
            name=folder.name,
            config=settled(ModelConfig(**options["model"])),
            vocabulary=read_vocabulary(manifest["vocabulary"], vocabularies),
            weights=weights,
            summary=checked_summary(manifest["summary"]),
            options=options,
            held_out=held_out,
        )
    except KeyError as error:
        raise CheckpointError(f"{folder / MANIFEST} is malformed: it has no {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / MANIFEST} is malformed: {error}") from error
    try:
        checkpoint.model()
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} does not hold the model that {MANIFEST} describes"
        ) from error
    return checkpoint


def upgraded(options: dict[str, Any]) -> dict[str, Any]:
    """A manifest's options as they are stored today.

    Before regularisation was a group of its own, the model had a rate of plain dropout. One mask a
    step at the same places and rate is what comes nearest to it.
    """
    model = options["model"]
    if "dropout" not in model:
        return options
    rate = model["dropout"]
    regularisation = {
        "dropout": rate,
        "input_dropout": rate if model.get("embedding") else 0.0,
        "output_dropout": rate,
        "token_dropout": 0.0,
        "weight_dropout": 0.0,
    }
    model = {name: value for name, value in model.items() if name != "dropout"}
    return {**options, "model": model, "regularisation": regularisation}


def settled(config: ModelConfig) -> ModelConfig:
    """A stored model's configuration, in which nothing is open.

    Raises:
        ConfigError: something is.
    """
    require(config.cells >= 1, "cells", "must be at least 1")
    return config


def checked_summary(summary: Any) -> dict[str, Any]:
    """A manifest's summary, if it has what resuming a run asks of it.

    Raises:
        TypeError: it has not.
    """
    if not isinstance(summary, dict):
        raise TypeError("its summary is no object")
    for name in ("text", "hardware"):
        if not isinstance(summary.get(name), dict):
            raise TypeError(f"its summary has no {name}")
    if not isinstance(summary["text"].get("sha256"), str):
        raise TypeError("its summary has no sha256 of the text")
    return summary


def load_training_state(path: Path) -> TrainingState:
    """Reads what going on from a checkpoint needs.

    Raises:
        CheckpointError: it is missing, damaged or something else; the message names the file.
    """
    folder = find_checkpoint(path)
    manifest = read_manifest(folder)
    progress = manifest.get("progress")
    if not isinstance(progress, dict):
        raise CheckpointError(f"{folder / MANIFEST} is malformed: it has no progress")
    return TrainingState(progress, read_tensors(folder, TRAINING, manifest))


def find_checkpoint(path: Path) -> Path:
    """The directory of the checkpoint that a path stands for."""
    if (path / MANIFEST).is_file():
        return path
    pointer = path / "best" if path.is_dir() else path
    if not pointer.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    folder = read_pointer(pointer)
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{pointer} names a checkpoint that is not there: {folder.name}")
    return folder


def read_pointer(pointer: Path) -> Path:
    """The checkpoint beside a pointer file that it names."""
    try:
        name = pointer.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{pointer} cannot be read: {error}") from error
    if not name or name in (".", "..") or len(name) > 255 or any(c in name for c in "/\\\n\0"):
        raise CheckpointError(f"{pointer} is neither a checkpoint nor names one")
    return pointer.parent / name


def read_manifest(folder: Path) -> dict[str, Any]:
    """The JSON of a checkpoint."""
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise CheckpointError(f"{file} does not describe a Charloom checkpoint")
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} has format {manifest.get('format')}, and this Charloom reads format {FORMAT}"
        )
    return manifest


def read_file(folder: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """The content of a checkpoint's file, checked against its digest."""
    file = folder / name
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    digests = manifest.get("sha256")
    if not isinstance(digests, dict) or digests.get(name) != hashlib.sha256(data).hexdigest():
        raise CheckpointError(f"{file} is damaged: it is not the file that {MANIFEST} lists")
    return data


def read_tensors(folder: Path, name: str, manifest: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint's safetensors file."""
    try:
        return load(read_file(folder, name, manifest))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / name} is no safetensors file: {error}") from error


def write_checkpoint(
    folder: Path,
    manifest: dict[str, Any],
    model: RecurrentModel,
    training: dict[str, Tensor],
    held_out: str,
) -> None:
    """Writes a checkpoint; `folder` appears when all of it is on disk, or not at all.

    Raises:
        SaveError: it cannot be written, for example because the disk is full.
    """
    files = {
        WEIGHTS: save(plain(model.state_dict())),
        TRAINING: save(plain(training)),
        TEXT: held_out.encode(),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {"kind": KIND, "format": FORMAT, **manifest, "sha256": digests}
    files[MANIFEST] = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
    partial = folder.parent / (PARTIAL + folder.name)
    try:
        remove(partial)
        partial.mkdir()
        for name, data in files.items():
            write_synced(partial / name, data)
        sync_folder(partial)
        partial.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        remove(partial)
        raise SaveError(f"cannot save the checkpoint {folder}: {error.strerror}") from error


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: on the CPU, each with memory of its own."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def write_synced(file: Path, data: bytes) -> None:
    """Writes a file and waits until it is on disk."""
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the names in a directory are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Deletes a file, or a directory with all it holds, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
