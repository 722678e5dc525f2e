"""Bundles: a directory with everything that serving a model needs, and proof that it is whole.

    manifest.json        what the bundle is; the digest of every other file
    vocabulary.json
    float32.read.onnx    the burst graph that reads,
    float32.plain.onnx   the one that samples by temperature,
    float32.full.onnx    the one with every sampler
    int8.*.onnx          the same with products in int8: a bundle holds either, or both

It knows nothing of how graphs are made or run.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Any, Literal, get_args

import msgspec

from charloom.burst import GraphKind, StateSpec
from charloom.errors import CharloomError
from charloom.vocabulary import VOCABULARIES, Vocabulary, VocabularyKinds, read_vocabulary

FORMAT = 2
"""The bundle format that this version reads and writes."""

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.json"

Precision = Literal["float32", "int8"]
"""The numbers in which a bundle's products are computed."""

LARGEST = {MANIFEST: 4 * 2**20, VOCABULARY: 64 * 2**20}
"""Bytes of a file of JSON, far beyond any real one ..."""
LARGEST_GRAPH = 2**31
"""... and of a graph: no ONNX model is larger."""
LARGEST_STATE = 4 * 2**20
"""Bytes of a stream's state, likewise."""

FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class BundleError(CharloomError):
    """A bundle cannot be read or written; the message names the file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"bundle: {path}: {reason}")
        self.path = path


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle."""

    sha256: str
    bytes: int


class TensorInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, type and shape of an input or output; a letter stands for a dynamic dimension."""

    name: str
    dtype: str
    shape: list[str | int]
    initial: int = 0
    """What fills the row of a fresh stream, of a state tensor."""


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One burst graph."""

    file: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle's graphs in one precision. All precisions share everything else."""

    graphs: dict[GraphKind, Graph]
    state: list[TensorInfo]
    verification: dict[str, Any]
    """What was measured where the bundle was made."""

    @property
    def state_specs(self) -> list[StateSpec]:
        """The state tensors, each with the shape of one stream's row."""
        return [StateSpec(t.name, t.dtype, tuple(int(d) for d in t.shape[1:]), t.initial) for t in self.state]


Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kind and size of the network."""

    cell: str
    layers: Count
    cells: Count
    embedding: Count
    parameters: Count


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle says of itself."""

    format: int
    name: str
    version: str
    architecture: Architecture
    vocabulary_size: Count
    precisions: dict[Precision, Variant]
    training: dict[str, Any]
    files: dict[str, File]
    created_by: str
    license: str = ""

    @property
    def graph_files(self) -> list[str]:
        """The files of all graphs."""
        return [graph.file for variant in self.precisions.values() for graph in variant.graphs.values()]


class Bundle:
    """A bundle on disk whose every file was found whole."""

    def __init__(self, path: Path, manifest: Manifest, digest: str, vocabulary: Vocabulary) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest
        self.vocabulary = vocabulary

    @classmethod
    def open(cls, path: str | Path, vocabularies: VocabularyKinds = VOCABULARIES) -> "Bundle":
        """Reads and checks a bundle, whose vocabulary may be of any of these kinds.

        Raises:
            BundleError: a file is missing, truncated, altered, malformed or of a newer format.
        """
        path = Path(path)
        raw = read_file(path / MANIFEST)
        manifest = parse_manifest(path / MANIFEST, raw)
        contents = {name: read_checked(path, name, file) for name, file in manifest.files.items()}
        for needed in (VOCABULARY, *manifest.graph_files):
            if needed not in contents:
                raise BundleError(path / MANIFEST, f"does not list {needed}")
        vocabulary = parse_vocabulary(path / VOCABULARY, contents[VOCABULARY], vocabularies)
        if vocabulary.size != manifest.vocabulary_size:
            raise BundleError(path / VOCABULARY, "does not have the size that the manifest gives")
        return cls(path, manifest, f"sha256:{hashlib.sha256(raw).hexdigest()}", vocabulary)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    def graph(self, precision: Precision, kind: GraphKind) -> bytes:
        """The serialised ONNX model of a burst graph, checked once more as it is read."""
        name = self.manifest.precisions[precision].graphs[kind].file
        return read_checked(self.path, name, self.manifest.files[name])


def parse_manifest(path: Path, raw: bytes) -> Manifest:
    """Reads a manifest, the format first: a newer one may hold anything else."""
    try:
        stated = msgspec.json.decode(raw, type=dict[str, Any]).get("format")
        if not isinstance(stated, int) or stated < 1:
            raise BundleError(path, "is not the manifest of a Charloom bundle: it states no format")
        if stated > FORMAT:
            raise BundleError(path, f"has format {stated}; this Charloom reads {FORMAT}: update it")
        if stated < FORMAT:
            raise BundleError(path, f"has format {stated}; this Charloom reads {FORMAT}: export it again")
        manifest = msgspec.json.decode(raw, type=Manifest)
        states = [spec for variant in manifest.precisions.values() for spec in variant.state_specs]
        float(manifest.training.get("validation_loss", "nan"))
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise BundleError(path, f"is malformed: {error}") from error
    if not all(usable(spec) for spec in states):
        raise BundleError(path, "has a state of an unusable type, size or beginning")
    if not MODEL_NAME.fullmatch(manifest.name):
        raise BundleError(path, f"has an unusable model name {manifest.name!r}")
    if not manifest.precisions:
        raise BundleError(path, "lists no precision")
    kinds = get_args(GraphKind)
    if any(set(variant.graphs) != set(kinds) for variant in manifest.precisions.values()):
        raise BundleError(path, f"must list the graphs {', '.join(kinds)} of each precision")
    return manifest


def usable(spec: StateSpec) -> bool:
    """Whether a stream can have such a state."""
    sized = all(1 <= size <= LARGEST_STATE for size in spec.shape)
    fits = spec.dtype in ("float32", "uint8") and sized and spec.nbytes <= LARGEST_STATE
    return fits and 0 <= spec.initial <= 255


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
        if about.st_size > (most := LARGEST.get(path.name, LARGEST_GRAPH)):
            raise BundleError(path, f"has {about.st_size} bytes, more than the {most} it may have")
        return path.read_bytes()
    except FileNotFoundError as error:
        hint = "; `charloom export` makes a bundle of a run" if path.name == MANIFEST else ""
        raise BundleError(path, f"does not exist{hint}") from error
    except OSError as error:
        raise BundleError(path, f"cannot be read: {error.strerror}") from error


def graph_file(precision: Precision, kind: GraphKind) -> str:
    """The file of a burst graph."""
    return f"{precision}.{kind}.onnx"


class BundleWriter:
    """Writes a bundle under a temporary name; it appears whole or not at all.

    Use as a context manager: leaving it without `commit` removes what was written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
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
        self.files[name] = File(hashlib.sha256(data).hexdigest(), len(data))

    def commit(self, manifest: Manifest) -> Bundle:
        """Writes the manifest, puts the bundle in its place, and opens it."""
        raw = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        parse_manifest(self.path / MANIFEST, raw)
        self._write(MANIFEST, raw)
        try:
            self.staging.chmod(0o755)
            aside = self.staging.with_name(f"{self.staging.name}-replaced")
            if self.path.exists():
                self.path.rename(aside)
            self.staging.rename(self.path)
            shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise BundleError(self.path, f"cannot be written: {error.strerror}") from error
        return Bundle.open(self.path)

    def _write(self, name: str, data: bytes) -> None:
        path = self.staging / name
        try:
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BundleError(self.path / name, f"cannot be written: {error.strerror}") from error


def to_json(data: Mapping[str, Any]) -> bytes:
    """A JSON file's bytes."""
    return json.dumps(data, ensure_ascii=False, indent=1).encode()
