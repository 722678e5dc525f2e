"""Bundles: a directory with everything that serving a model needs, and proof that it is whole.

manifest.json        what the bundle is; the digest of every other file
vocabulary.json
float32.safetensors  the weights of all graphs in float32
float32.read.onnx    the burst graph that reads,
float32.plain.onnx   the one that samples by temperature,
float32.full.onnx    the one with every sampler
int8.*               the same with products in int8: a bundle holds either, or both
"""

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Any, Literal, Protocol, get_args

import msgspec
import numpy as np

from charloom.burst import FULL_INPUTS, GraphKind, StateSpec
from charloom.errors import CharloomError
from charloom.files import sync_folder, write_synced
from charloom.vocabulary import VOCABULARIES, Vocabulary, VocabularyKinds, read_vocabulary

FORMAT = 3
"""The bundle format that this version reads and writes."""

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.json"

Precision = Literal["float32", "int8"]
"""The numbers in which a bundle's products are computed."""

LARGEST = {".json": 64 * 2**20, ".onnx": 16 * 2**20, ".safetensors": 2**36}
"""Bytes that a file of each kind may have, far beyond any real one."""
LARGEST_STATE = 4 * 2**20
"""Bytes of a stream's state, likewise."""

INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
STATE_TYPES = INTEGERS | {"bool", "float16", "float32", "float64"}
"""Types that a state tensor can have: those that numpy and ONNX share."""

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


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One burst graph."""

    file: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle's graphs in one precision. All precisions share everything else."""

    weights: str
    """The file of the weights that the graphs share."""
    graphs: dict[GraphKind, Graph]
    state: list[StateSpec]
    """The state tensors; every precision has those of the same names and shapes."""
    verification: dict[str, Any]
    """What was measured where the bundle was made."""


Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""An integer that JSON and google.protobuf.Struct hold exactly."""
Setting = Whole | float | bool | Annotated[str, msgspec.Meta(max_length=1024)] | None
"""A value in the configuration of a network."""


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kind and size of the network. Programs that only run its graphs need to know neither."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    """Kind of network, such as `recurrent`."""
    version: Count
    """Version of the configuration of this kind."""
    config: dict[str, Setting]
    """Size and options of the network, as `charloom train` has them."""
    parameters: Count
    """Number of trained parameters."""
    description: Annotated[str, msgspec.Meta(max_length=256)]
    """The network in a few words, for people."""


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle says of itself."""

    format: int
    name: str
    version: str
    architecture: Architecture
    vocabulary_size: Count
    precisions: dict[Precision, Variant]
    embedding: list[str]
    """Names of the state tensors that joined make the embedding of a text; none if it has none."""
    training: dict[str, Any]
    files: dict[str, File]
    created_by: str
    license: str = ""

    @property
    def needed_files(self) -> list[str]:
        """The files without which the bundle cannot be served."""
        variants = self.precisions.values()
        graphs = [graph.file for variant in variants for graph in variant.graphs.values()]
        return [VOCABULARY, *(variant.weights for variant in variants), *graphs]


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
        return cls._of(files, manifest, raw, vocabularies)

    @classmethod
    def in_memory(
        cls,
        origin: Path,
        manifest: Manifest,
        contents: Mapping[str, bytes],
        vocabularies: VocabularyKinds = VOCABULARIES,
    ) -> "Bundle":
        """A bundle that is written nowhere, made of what is at `origin`."""
        return cls._of(FilesInMemory(origin, contents), manifest, encode_manifest(manifest), vocabularies)

    @classmethod
    def _of(cls, files: Files, manifest: Manifest, raw: bytes, vocabularies: VocabularyKinds) -> "Bundle":
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
        float(manifest.training.get("validation_loss", "nan"))
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise BundleError(path, f"is malformed: {error}") from error
    check_state(path, manifest)
    if not MODEL_NAME.fullmatch(manifest.name):
        raise BundleError(path, f"has an unusable model name {manifest.name!r}")
    if not manifest.precisions:
        raise BundleError(path, "lists no precision")
    kinds = get_args(GraphKind)
    if any(set(variant.graphs) != set(kinds) for variant in manifest.precisions.values()):
        raise BundleError(path, f"must list the graphs {', '.join(kinds)} of each precision")
    return manifest


def check_state(path: Path, manifest: Manifest) -> None:
    """Raises BundleError unless streams can have the states of a manifest."""
    variants = manifest.precisions.values()
    for spec in (spec for variant in variants for spec in variant.state):
        if not usable(spec):
            raise BundleError(path, f"has a state {spec.name!r} of an unusable type, size or beginning")
    for variant in variants:
        names = [spec.name for spec in variant.state]
        if len(set(names)) != len(names):
            raise BundleError(path, "has two state tensors of one name")
        if taken := {spec.name for spec in FULL_INPUTS} & set(names):
            raise BundleError(path, f"has a state tensor of an input's name: {', '.join(sorted(taken))}")
        if not set(manifest.embedding) <= set(names):
            raise BundleError(path, "has an embedding of state tensors that it does not list")
    shapes = [{spec.name: spec.shape for spec in variant.state} for variant in variants]
    if any(shape != shapes[0] for shape in shapes):
        raise BundleError(path, "has another state in each precision")


def usable(spec: StateSpec) -> bool:
    """Returns whether a stream can have such a state tensor."""
    sized = all(1 <= size <= LARGEST_STATE for size in spec.shape)
    if spec.dtype not in STATE_TYPES or not sized or spec.nbytes > LARGEST_STATE:
        return False
    if spec.dtype not in INTEGERS:
        return spec.initial in (0, 1) and spec.scale is None and spec.limit is None
    bounds = np.iinfo(spec.dtype)
    if not all(bounds.min <= value <= bounds.max for value in (spec.initial, spec.zero)):
        return False
    if spec.limit is not None and not 0 <= spec.initial < spec.limit:
        return False
    return spec.scale is None or 0 < spec.scale < math.inf


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


def graph_file(precision: Precision, kind: GraphKind) -> str:
    """The file of a burst graph."""
    return f"{precision}.{kind}.onnx"


def weights_file(precision: Precision) -> str:
    """The file of the weights that the graphs of a precision share."""
    return f"{precision}.safetensors"


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of a manifest's file."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)


def describe_file(data: bytes) -> File:
    """What a manifest says of a file of these bytes."""
    return File(hashlib.sha256(data).hexdigest(), len(data))


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
