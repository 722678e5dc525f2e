"""The runner: a bundle's burst graphs on a device. The only file here that knows onnxruntime.

It knows tensors, threads and providers, and nothing of streams.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import onnxruntime

from charloom.bundle import Bundle, BundleError, Precision
from charloom.burst import FULL_OUTPUTS, INPUTS, Feeds, GraphKind, pad, take
from charloom.errors import CharloomError, require
from charloom.execution_class import ExecutionClass
from charloom.processor import available_cores, instruction_set, multiplies_bytes
from serving.engine.ways import Ways

Device = Literal["auto", "cpu", "cuda"]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

CACHED = 16 * 2**20
"""Bytes of weights up to which every core can read all of them at every step from a cache."""
ENOUGH = 64
"""Rows of a shard beyond which it gets no faster a row: smaller ones spread better over threads of which
one may be held up by other work."""
NO_VNNI = "this processor has no VNNI, without which products of bytes are neither exact nor fast"


@dataclass(frozen=True)
class RunnerConfig:
    """Where and how bursts run."""

    device: Device = "auto"
    """auto takes CUDA where onnxruntime has it and it works, else the CPU."""
    precision: Literal["auto", "float32", "int8"] = "auto"
    """auto takes the fastest in the bundle that the device runs well."""
    threads: int = 0
    """Threads of a burst on the CPU; 0 for one per core."""

    def __post_init__(self) -> None:
        require(self.device in get_args(Device), "device", f"must be one of {', '.join(get_args(Device))}")
        precisions = ("auto", *get_args(Precision))
        require(self.precision in precisions, "precision", f"must be one of {', '.join(precisions)}")
        require(self.threads >= 0, "threads", "must be 0 (one per core) or more")


class DeviceError(CharloomError):
    """The device that was asked for cannot be used."""

    exit_code = 8


class PrecisionError(CharloomError):
    """The precision that was asked for cannot be had."""

    exit_code = 8


class RunError(CharloomError):
    """The runtime could not run a burst."""


@dataclass(frozen=True)
class Way:
    """One way to run bursts: threads that share every product, or shards of a batch, a thread each."""

    name: str
    threads: int
    """Of a session."""
    shards: int
    """Parts, a thread each, that a batch is cut into; a large one is cut into more."""


class Runner:
    """Runs bursts of one bundle in one precision on one device.

    On a CPU there are three ways. One thread may compute the whole burst and leave the other cores
    alone. A batch may be cut into shards, each of which one thread computes from the first step to the
    last: rows need nothing of each other, so no thread ever waits in between. Or all threads compute
    every product together; they meet at each operator and wait for each other by spinning, which is fast
    for a few rows on a quiet machine and slow beside any busy program. A large batch always runs in
    shards; for a smaller one the fastest way is found as bursts run. A model too
    large for the caches is always computed by all together.
    """

    def __init__(
        self, bundle: Bundle, device: Literal["cpu", "cuda"], precision: Precision, threads: int = 0
    ) -> None:
        """Loads all graphs.

        Raises:
            DeviceError: the session did not get the device, or the graph cannot be loaded.
            PrecisionError: the bundle or the device does not have the precision.
            BundleError: its graphs take something else than this version feeds them.
        """
        if precision not in bundle.manifest.precisions:
            raise PrecisionError(
                f"model {bundle.name} holds {' and '.join(bundle.manifest.precisions)}, not {precision}"
            )
        if precision == "int8" and (device != "cpu" or not multiplies_bytes()):
            reason = NO_VNNI if device == "cpu" else "it runs on the CPU only"
            raise PrecisionError(f"model {bundle.name} cannot run in int8: {reason}")
        self.device = device
        self.precision: Precision = precision
        self.threads = threads or available_cores()
        self.instruction_set = instruction_set()  # read once: every request reports its class
        self.padding = 1
        self.state = bundle.manifest.precisions[precision].state_specs
        weights = bundle.manifest.architecture.parameters
        self.ways = self._find_ways(weights * (1 if precision == "int8" else 4))
        self._fastest = {kind: Ways() for kind in INPUTS}
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), "burst")
        self._check_contract(bundle)
        graphs = {kind: bundle.graph(precision, kind) for kind in INPUTS}
        self._sessions = {
            (kind, threads): self._open(graph, threads)
            for threads in {way.threads for way in self.ways}
            for kind, graph in graphs.items()
        }
        self._names = {
            kind: [output.name for output in session.get_outputs()]
            for (kind, _), session in self._sessions.items()
        }

    def _find_ways(self, size: int) -> list[Way]:
        """What there is to choose from, for a model of so many bytes."""
        alone, in_shards = Way("alone", 1, 1), Way("in shards", 1, self.threads)
        together = Way("together", self.threads, 1)
        if self.device == "cuda" or size > CACHED or self.threads == 1:
            return [together]
        return [alone, in_shards, together]

    def _check_contract(self, bundle: Bundle) -> None:
        """Sees that the graphs take what this version feeds them."""
        for kind, graph in bundle.manifest.precisions[self.precision].graphs.items():
            fed = {spec.name for spec in INPUTS[kind]} | {spec.name for spec in self.state}
            if fed != {info.name for info in graph.inputs}:
                reason = f"{graph.file} was exported by another version of Charloom: export it again"
                raise BundleError(bundle.path, reason)

    def _open(self, graph: bytes, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        provider = PROVIDERS[self.device]
        if provider not in onnxruntime.get_available_providers():
            raise DeviceError("this onnxruntime has no CUDA; the extra serve-gpu brings one that has")
        providers = [provider] if self.device == "cpu" else [provider, PROVIDERS["cpu"]]
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise DeviceError(f"onnxruntime cannot load the graph on {self.device}: {error}") from error
        # A provider that fails to start is dropped with no more than a line in the log.
        if session.get_providers()[0] != provider:
            raise DeviceError(
                f"onnxruntime did not start {provider}; is a driver for its CUDA version installed?"
            )
        return session

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst of B rows in the way that is fastest.

        Raises:
            RunError: the runtime failed.
        """
        steps, rows = feeds["forced"].shape
        way = self._fastest[kind].pick(rows, self._usable(rows))
        started = time.perf_counter()
        outputs = self.run_in(self.ways[way], kind, feeds)
        self._fastest[kind].learn(way, rows, steps, time.perf_counter() - started)
        return outputs

    def _usable(self, rows: int) -> list[int]:
        """The ways that may be fastest for so many rows: shards, where there is enough for every thread."""
        shards = [way.shards for way in self.ways]
        if max(shards) > 1 and rows >= max(shards) * ENOUGH:
            return [shards.index(max(shards))]
        return [i for i, count in enumerate(shards) if count <= max(1, rows)]

    def run_in(self, way: Way, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst of B rows in one of its ways; they all give the same bits.

        Raises:
            RunError: the runtime failed.
        """
        rows = len(feeds["last"])
        if min(way.shards, rows) <= 1:
            return self._run(way.threads, kind, feeds)
        shards = cut(kind, feeds, max(min(way.shards, rows), rows // ENOUGH))
        futures = [self._pool.submit(self._run, way.threads, kind, shard) for shard in shards]
        parts: list[Feeds] = []
        # This thread takes shards from the end, until it meets those that take them from the beginning.
        for shard, future in zip(reversed(shards), reversed(futures), strict=True):
            parts.append(self._run(way.threads, kind, shard) if future.cancel() else future.result())
        return join(parts[::-1])

    def _run(self, threads: int, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs a burst in this thread, padded to the smallest batch that is exact."""
        rows = len(feeds["last"])
        padded = pad(feeds, INPUTS[kind], self.padding)
        try:
            outputs = self._sessions[kind, threads].run(self._names[kind], padded)
        except Exception as error:
            raise RunError(f"onnxruntime: {error}") from error
        named = dict(zip(self._names[kind], outputs, strict=True))
        return named if padded is feeds else take(named, FULL_OUTPUTS, np.arange(rows))

    @property
    def execution_class(self) -> ExecutionClass:
        """Within it, the same request gives the same bytes."""
        return ExecutionClass(
            precision=self.precision,
            provider=self.device,
            runtime=f"onnxruntime-{onnxruntime.__version__}",
            instruction_set=self.instruction_set,
            padding=self.padding,
        )


def cut(kind: GraphKind, feeds: Feeds, count: int) -> list[Feeds]:
    """A burst as `count` bursts of about equally many of its rows, without copying them."""
    axes = {spec.name: spec.dims.index("B") for spec in INPUTS[kind]}
    edges = np.linspace(0, len(feeds["last"]), count + 1).astype(int).tolist()
    return [
        {
            name: array[:, begin:end] if axes.get(name, 0) else array[begin:end]
            for name, array in feeds.items()
        }
        for begin, end in pairwise(edges)
    ]


def join(parts: Sequence[Feeds]) -> Feeds:
    """The outputs of several bursts as those of one."""
    axes = {spec.name: spec.dims.index("B") for spec in FULL_OUTPUTS}
    return {name: np.concatenate([part[name] for part in parts], axes.get(name, 0)) for name in parts[0]}


def open_runner(bundle: Bundle, config: RunnerConfig) -> tuple[Runner, list[str]]:
    """A runner as it is asked for, and with auto also why it is not what would be faster.

    Raises:
        DeviceError: the device that was asked for cannot be used.
        PrecisionError: the precision that was asked for cannot be had on it.
    """
    if config.device != "auto":
        precision, remarks = choose_precision(bundle, config.device, config)
        return Runner(bundle, config.device, precision, config.threads), remarks
    try:
        precision, remarks = choose_precision(bundle, "cuda", config)
        return Runner(bundle, "cuda", precision, config.threads), remarks
    except (DeviceError, PrecisionError) as error:
        precision, remarks = choose_precision(bundle, "cpu", config)
        return Runner(bundle, "cpu", precision, config.threads), [f"not on CUDA: {error}", *remarks]


def choose_precision(
    bundle: Bundle, device: Literal["cpu", "cuda"], config: RunnerConfig
) -> tuple[Precision, list[str]]:
    """The precision to run in, and with auto why it is not int8 where the bundle has it."""
    if config.precision != "auto":
        return config.precision, []
    held = bundle.manifest.precisions
    if "int8" not in held or (device == "cuda" and "float32" in held):
        return "float32", []
    if "float32" in held and not multiplies_bytes():
        return "float32", [f"not in int8: {NO_VNNI}"]
    return "int8", []
