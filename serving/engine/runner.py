"""The runner: a bundle's burst graphs on a device. The only file here that knows onnxruntime.

It knows tensors, threads and providers, and nothing of streams.
"""

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
from charloom.execution_class import ExecutionClass, instruction_set, multiplies_bytes
from charloom.machine import available_cores

Device = Literal["auto", "cpu", "cuda"]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

CACHED = 16 * 2**20
"""Bytes of weights up to which every core can read all of them at every step from a cache."""
SHARD = 4_000_000
"""Multiplications a step that are worth a thread of their own."""
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


class PrecisionError(CharloomError):
    """The precision that was asked for cannot be had."""


class RunError(CharloomError):
    """The runtime could not run a burst."""


class Runner:
    """Runs bursts of one bundle in one precision on one device.

    On a CPU a large batch is cut into shards, each of which one thread computes from the first step
    to the last: rows need nothing of each other, so no thread ever waits for another in between,
    and none spins. A model too large for that, of whose weights every core would fetch all from
    main memory, is computed by all threads together, operator by operator.
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
        cached = weights * (1 if precision == "int8" else 4) <= CACHED
        self._shards = self.threads if cached and device == "cpu" else 1
        self._shard_rows = -(-SHARD // weights)
        self._pool = ThreadPoolExecutor(max(1, self._shards - 1), "burst")
        self._check_contract(bundle)
        self._sessions = {kind: self._open(bundle.graph(precision, kind)) for kind in INPUTS}
        self._names = {kind: [o.name for o in s.get_outputs()] for kind, s in self._sessions.items()}

    def _check_contract(self, bundle: Bundle) -> None:
        """Sees that the graphs take what this version feeds them."""
        for kind, graph in bundle.manifest.precisions[self.precision].graphs.items():
            fed = {spec.name for spec in INPUTS[kind]} | {spec.name for spec in self.state}
            if fed != {info.name for info in graph.inputs}:
                reason = f"{graph.file} was exported by another version of Charloom: export it again"
                raise BundleError(bundle.path, reason)

    def _open(self, graph: bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads if self._shards == 1 else 1
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
        """Runs one burst of B rows.

        Raises:
            RunError: the runtime failed.
        """
        rows = len(feeds["last"])
        count = max(1, min(self._shards, rows // self._shard_rows))
        if count == 1:
            return self._run(kind, feeds)
        mine, *rest = cut(kind, feeds, count)
        others = [self._pool.submit(self._run, kind, shard) for shard in rest]
        return join([self._run(kind, mine), *(other.result() for other in others)])

    def _run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs a burst in this thread, padded to the smallest batch that is exact."""
        rows = len(feeds["last"])
        padded = pad(feeds, INPUTS[kind], self.padding)
        try:
            outputs = self._sessions[kind].run(self._names[kind], padded)
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
