"""The manifest of a bundle: the digest of every file, and the graphs and the state of each precision."""

import hashlib
import math
import re
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import numpy as np

from charloom.burst import FULL_INPUTS, GraphKind, StateSpec
from charloom.errors import CharloomError
from charloom.execution_class import Precision

FORMAT = 3
"""The bundle format that this version reads and writes."""

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.json"
NOVELTY = "novelty.bloom"

LARGEST_STATE = 4 * 2**20
"""Bytes that a stream's state may have, far beyond any real one."""

INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
STATE_TYPES = INTEGERS | {"bool", "float16", "float32", "float64"}
"""Types that a state tensor can have: those that numpy and ONNX share."""

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


class Novelty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The filter of the training text's records, a file of `charloom.novelty.NoveltyFilter`'s bits."""

    file: str
    hash: str
    """What of a record is hashed, and how."""
    records: Count
    """Records of the training text, doubles among them included."""
    probes: Annotated[int, msgspec.Meta(ge=1, le=64)]
    """Bits that are set of each."""
    false_positive_rate: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """The share of other records that are taken for these."""


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
    novelty: Novelty | None = None
    """The filter that tells new records from those of the training text; None if none was asked for."""

    @property
    def needed_files(self) -> list[str]:
        """The files that the manifest speaks of, without which the bundle is not whole."""
        variants = self.precisions.values()
        graphs = [graph.file for variant in variants for graph in variant.graphs.values()]
        novelty = [] if self.novelty is None else [self.novelty.file]
        return [VOCABULARY, *(variant.weights for variant in variants), *graphs, *novelty]


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
