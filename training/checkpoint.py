"""Checkpoints: what training leaves behind at one moment, in a directory of its own.

    checkpoint.json         options, vocabulary, summary, progress, and a digest of every other file
    weights.safetensors     the model
    training.safetensors    what only resuming needs: optimiser, carried state
    held_out.safetensors    token ids of real text that the model was not trained on

A checkpoint is complete and is never changed: it is written atomically, its manifest last.
Nothing in it is pickled.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from charloom.errors import CharloomError
from charloom.files import write_folder_atomic
from charloom.vocabulary import (
    VOCABULARIES,
    Ids,
    Tokens,
    Vocabulary,
    VocabularyError,
    VocabularyKinds,
    read_vocabulary,
)
from networks.config import NetworkConfig
from networks.language_model import LanguageModel
from networks.registry import NETWORKS, NetworkError, NetworkRegistry

FORMAT = 3
KIND = "charloom checkpoint"

MANIFEST, WEIGHTS, TRAINING, HELD_OUT = (
    "checkpoint.json",
    "weights.safetensors",
    "training.safetensors",
    "held_out.safetensors",
)


class CheckpointError(CharloomError):
    """A checkpoint is missing or damaged, or something else."""

    exit_code = 9


class SaveError(CharloomError):
    """A checkpoint could not be written."""

    exit_code = 10


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and where it comes from."""

    name: str
    config: NetworkConfig
    vocabulary: Vocabulary
    weights: Mapping[str, Tensor]
    """The model's tensors by name, float32 on the CPU."""
    summary: dict[str, Any]
    """Text, epoch, steps, losses in nats a token and bits a character, hardware: for people and manifests."""
    options: dict[str, Any]
    """All options of the run, by group."""
    held_out: Tokens
    """The beginning of the validation part [T], about 20,000 tokens, with those of labels and ends."""
    networks: NetworkRegistry = NETWORKS
    """The kinds of network, of which the model is one."""

    def model(self) -> LanguageModel:
        """Makes the model on the CPU, in float32, ready to evaluate.

        Raises:
            RuntimeError: the weights are not those of such a model.
        """
        model = self.networks.build(self.config, self.vocabulary.inputs, self.vocabulary.size)
        model.load_state_dict(self.weights)
        return model.eval()


@dataclass(frozen=True)
class TrainingState:
    """The progress and tensors that resuming needs beside the checkpoint itself."""

    progress: dict[str, Any]
    tensors: dict[str, Tensor]


def load_checkpoint(
    path: Path, networks: NetworkRegistry = NETWORKS, vocabularies: VocabularyKinds = VOCABULARIES
) -> Checkpoint:
    """Reads a checkpoint.

    Args:
        path: its directory, the `best` or `last` of a run, or a run, meaning its best.
        networks: the kinds of network that it may hold.
        vocabularies: the kinds of vocabulary that it may hold.

    Raises:
        CheckpointError: it is missing or damaged, something else, or of a network or vocabulary that is
            not among these; the message names the file.
    """
    folder = find_checkpoint(path)
    manifest = read_manifest(folder)
    weights = read_tensors(folder, WEIGHTS, manifest)
    held_out = read_tensors(folder, HELD_OUT, manifest)
    try:
        options = manifest["options"]
        checkpoint = Checkpoint(
            name=folder.name,
            config=sized_config(networks.read(options["model"])),
            vocabulary=read_vocabulary(manifest["vocabulary"], vocabularies),
            weights=weights,
            summary=checked_summary(manifest["summary"]),
            options=options,
            held_out=held_out["tokens"].numpy(),
            networks=networks,
        )
    except (NetworkError, VocabularyError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be used: {error}") from error
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


def sized_config(config: NetworkConfig) -> NetworkConfig:
    """Returns a stored configuration.

    Raises:
        NetworkError: it leaves a size open.
    """
    if config != config.sized(0):
        raise NetworkError(f"its network {config.kind} is malformed: a size is left open")
    return config


def checked_summary(summary: Any) -> dict[str, Any]:
    """Returns a manifest's summary, in which is what resuming a run needs.

    Raises:
        TypeError: it lacks some of that.
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
    """Reads what resuming from a checkpoint needs.

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
    """Finds the directory of the checkpoint that a path stands for.

    Raises:
        CheckpointError: there is none.
    """
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
    """Reads which checkpoint beside it a pointer file names.

    Raises:
        CheckpointError: it is no pointer file.
    """
    try:
        name = pointer.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{pointer} cannot be read: {error}") from error
    if not name or name in (".", "..") or len(name) > 255 or any(c in name for c in "/\\\n\0"):
        raise CheckpointError(f"{pointer} is neither a checkpoint nor names one")
    return pointer.parent / name


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the JSON of a checkpoint.

    Raises:
        CheckpointError: it is malformed or of another format.
    """
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
    """Reads a file of a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or does not have the digest that the manifest lists.
    """
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
    """Reads the tensors of a checkpoint's safetensors file.

    Raises:
        CheckpointError: it is damaged or something else.
    """
    try:
        return load(read_file(folder, name, manifest))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / name} is no safetensors file: {error}") from error


def write_checkpoint(
    folder: Path,
    manifest: dict[str, Any],
    model: LanguageModel,
    training: dict[str, Tensor],
    held_out: Ids,
) -> None:
    """Writes a checkpoint; `folder` appears when all of it is on disk, or not at all.

    Raises:
        SaveError: it cannot be written, for example because the disk is full.
    """
    files = {
        WEIGHTS: save(plain(model.state_dict())),
        TRAINING: save(plain(training)),
        HELD_OUT: save({"tokens": torch.from_numpy(held_out.astype(np.int64))}),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {"kind": KIND, "format": FORMAT, **manifest, "sha256": digests}
    files[MANIFEST] = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
    try:
        write_folder_atomic(folder, files)
    except OSError as error:
        raise SaveError(f"cannot save the checkpoint {folder}: {error.strerror}") from error


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies tensors as safetensors takes them: on the CPU, each with memory of its own."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
