"""Bundles: a directory with everything that serving a model needs, and proof that it is whole.

manifest.json        what the bundle is; the digest of every other file
vocabulary.json
float32.safetensors  the weights of all graphs in float32
float32.read.onnx    the burst graph that reads,
float32.plain.onnx   the one that samples by temperature,
float32.full.onnx    the one with every sampler
int8.*               the same with products in int8: a bundle holds either, or both
novelty.bloom        the filter of the training text's records, if it was asked for
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any, Protocol

import numpy as np

from charloom.burst import GraphKind
from charloom.delimiter import delimiter_of
from charloom.execution_class import Precision
from charloom.files import sync_folder, write_synced
from charloom.manifest import (
    MANIFEST,
    VOCABULARY,
    BundleError,
    File,
    Manifest,
    describe_file,
    encode_manifest,
    parse_manifest,
)
from charloom.novelty import NoveltyFilter
from charloom.records.record_hash import HASH_NAME
from charloom.vocabulary import VOCABULARIES, Vocabulary, VocabularyKinds, read_vocabulary

LARGEST = {".json": 64 * 2**20, ".onnx": 16 * 2**20, ".safetensors": 2**36, ".bloom": 2**33}
"""Bytes that a file of each kind may have, far beyond any real one."""
FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class Files(Protocol):
    """The files of a bundle, wherever they are."""

    @property
    def path(self) -> Path:
        """Where they are, or what they were made of: for messages."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file of the manifest, verified; raises BundleError."""
        ...


class Bundle:
    """A bundle whose every file was found whole."""

    def __init__(self, files: Files, manifest: Manifest, digest: str, vocabulary: Vocabulary) -> None:
        self.files = files
        self.manifest = manifest
        self.digest = digest
        self.vocabulary = vocabulary

    @classmethod
    def open(cls, path: str | Path, vocabularies: VocabularyKinds = VOCABULARIES) -> "Bundle":
        """Reads and checks a bundle on disk, whose vocabulary may be of any of these kinds.

        Raises:
            BundleError: a file is missing, truncated, altered, malformed or of a newer format.
        """
        raw = read_file(Path(path) / MANIFEST)
        manifest = parse_manifest(Path(path) / MANIFEST, raw)
        files = FilesOnDisk(Path(path), manifest.files)
        for name in manifest.files:
            files.read(name)
        return cls._checked(files, manifest, raw, vocabularies)

    @classmethod
    def in_memory(
        cls,
        origin: Path,
        manifest: Manifest,
        contents: Mapping[str, bytes],
        vocabularies: VocabularyKinds = VOCABULARIES,
    ) -> "Bundle":
        """A bundle that is written nowhere, made of what is at `origin`."""
        return cls._checked(
            FilesInMemory(origin, contents), manifest, encode_manifest(manifest), vocabularies
        )

    @classmethod
    def _checked(
        cls, files: Files, manifest: Manifest, raw: bytes, vocabularies: VocabularyKinds
    ) -> "Bundle":
        for needed in manifest.needed_files:
            if needed not in manifest.files:
                raise BundleError(files.path / MANIFEST, f"does not list {needed}")
        vocabulary = parse_vocabulary(files.path / VOCABULARY, files.read(VOCABULARY), vocabularies)
        if vocabulary.size != manifest.vocabulary_size:
            raise BundleError(files.path / VOCABULARY, "does not have the size that the manifest gives")
        return cls(files, manifest, f"sha256:{hashlib.sha256(raw).hexdigest()}", vocabulary)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def path(self) -> Path:
        """Where the bundle is, or what it was made of."""
        return self.files.path

    @cached_property
    def delimiter(self) -> str | None:
        """What was between the records of the training text; None if nothing was, or there were none."""
        return None if self.vocabulary.end is None else delimiter_of(self.manifest.training)

    @cached_property
    def novelty(self) -> NoveltyFilter | None:
        """The filter of the training text's records, verified as it is read; None if the bundle has none.

        Raises:
            BundleError: it is empty, or was made by hashes of another kind.
        """
        about = self.manifest.novelty
        if about is None:
            return None
        bits = np.frombuffer(self.files.read(about.file), np.uint8)
        if not len(bits) or about.hash != HASH_NAME:
            raise BundleError(self.files.path / about.file, "is no filter that this Charloom reads")
        return NoveltyFilter(bits, about.probes)

    def graph(self, precision: Precision, kind: GraphKind) -> bytes:
        """The serialized ONNX model of a burst graph, verified once more as it is read."""
        return self.files.read(self.manifest.precisions[precision].graphs[kind].file)

    def weights(self, precision: Precision) -> bytes:
        """The file of weights that the graphs of a precision share, verified likewise."""
        return self.files.read(self.manifest.precisions[precision].weights)


@dataclass(frozen=True)
class FilesOnDisk:
    """The files of a directory, compared with a manifest whenever one is read."""

    path: Path
    listed: Mapping[str, File]

    def read(self, name: str) -> bytes:
        """See Files."""
        return read_checked(self.path, name, self.listed[name])


@dataclass(frozen=True)
class FilesInMemory:
    """Files that are written nowhere."""

    path: Path
    contents: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """See Files."""
        return self.contents[name]


def parse_vocabulary(path: Path, raw: bytes, kinds: VocabularyKinds) -> Vocabulary:
    """Reads a vocabulary file."""
    try:
        return read_vocabulary(json.loads(raw), kinds)
    except (ValueError, RecursionError) as error:
        raise BundleError(path, str(error)) from error


def read_checked(directory: Path, name: str, file: File) -> bytes:
    """Reads one file of a bundle and compares it with what the manifest says of it."""
    path = directory / name
    # A manifest is another person's file: nothing it names may lie outside its directory.
    try:
        inside = FILE_NAME.fullmatch(name) and path.resolve().is_relative_to(directory.resolve())
    except RuntimeError as error:  # a symlink to itself, before Python 3.13
        raise BundleError(path, "cannot be read: it is a link to itself") from error
    if not inside:
        raise BundleError(directory / MANIFEST, f"names {name!r}, which is no file of this directory")
    data = read_file(path, file.bytes)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise BundleError(path, "was altered: its digest is not the manifest's; copy it again")
    return data


def read_file(path: Path, stated: int | None = None) -> bytes:
    """Reads a file whole, of as many bytes as it is stated to have; nothing else is waited for or read."""
    try:
        about = path.stat()
        if not S_ISREG(about.st_mode):
            raise BundleError(path, "cannot be read: it is no regular file")
        if stated is not None and about.st_size != stated:
            reason = f"has {about.st_size} bytes where the manifest says {stated}: copy it again"
            raise BundleError(path, reason)
        if about.st_size > (most := LARGEST.get(path.suffix, LARGEST[".json"])):
            raise BundleError(path, f"has {about.st_size} bytes, more than the {most} it may have")
        return path.read_bytes()
    except FileNotFoundError as error:
        hint = "; `charloom export` makes a bundle of a run" if path.name == MANIFEST else ""
        raise BundleError(path, f"does not exist{hint}") from error
    except OSError as error:
        raise BundleError(path, f"cannot be read: {error.strerror}") from error


class BundleWriter:
    """Writes a bundle under a temporary name; it appears whole or not at all.

    Use as a context manager: leaving it without `commit` removes what was written.
    """

    def __init__(
        self, path: Path, *, overwrite: bool = False, vocabularies: VocabularyKinds = VOCABULARIES
    ) -> None:
        self.path = path
        self.vocabularies = vocabularies
        self.overwrite = overwrite
        self.files: dict[str, File] = {}

    def __enter__(self) -> "BundleWriter":
        try:
            if self.path.exists() and not self.overwrite:
                raise BundleError(self.path, "already exists; choose another place or pass --overwrite")
            if self.path.exists() and not self._replaceable():
                raise BundleError(self.path, "is not a bundle, so it is not overwritten")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.staging = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        except OSError as error:
            raise BundleError(self.path, f"cannot be written: {error.strerror}") from error
        return self

    def _replaceable(self) -> bool:
        """Whether a bundle or nothing is lost when what is there is replaced."""
        if not self.path.is_dir() or self.path.is_symlink():
            return False
        return (self.path / MANIFEST).exists() or not any(self.path.iterdir())

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)

    def add(self, name: str, data: bytes) -> None:
        """Writes one file and notes its digest."""
        self._write(name, data)
        self.files[name] = describe_file(data)

    def commit(self, manifest: Manifest) -> Bundle:
        """Writes the manifest, puts the bundle in its place, and opens it."""
        raw = encode_manifest(manifest)
        parse_manifest(self.path / MANIFEST, raw)
        self._write(MANIFEST, raw)
        try:
            self.staging.chmod(0o755)
            sync_folder(self.staging)
            aside = self.staging.with_name(f"{self.staging.name}-replaced")
            if self.path.exists():
                self.path.rename(aside)
            self.staging.rename(self.path)
            sync_folder(self.path.parent)
            shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise BundleError(self.path, f"cannot be written: {error.strerror}") from error
        return Bundle.open(self.path, self.vocabularies)

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_synced(self.staging / name, data)
        except OSError as error:
            raise BundleError(self.path / name, f"cannot be written: {error.strerror}") from error


def to_json(data: Mapping[str, Any]) -> bytes:
    """A JSON file's bytes."""
    return json.dumps(data, ensure_ascii=False, indent=1).encode()
