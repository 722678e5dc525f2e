"""The executor: runs a bundle's burst graphs on one device, state in and state out."""

import time
from typing import Literal

import numpy as np

from charloom.bundle import Bundle
from charloom.burst import FULL_OUTPUTS, INPUTS, Feeds, GraphKind, pad, take
from charloom.execution_class import ExecutionClass, Precision
from charloom.processor import available_cores, instruction_set, multiplies_bytes
from serving.engine.autotune import Autotuner
from serving.engine.config import RunnerConfig
from serving.engine.runner import PrecisionError, ProviderError
from serving.engine.sessions import Sessions, runtime
from serving.engine.strategies import ShardPool, Strategy, find_strategies, usable

NO_VNNI = "this processor has no VNNI, without which products of bytes are neither exact nor fast"


class Executor:
    """Runs bursts of one bundle in one precision on one device, by the fastest execution strategy."""

    def __init__(
        self, bundle: Bundle, device: Literal["cpu", "cuda"], precision: Precision, threads: int = 0
    ) -> None:
        """Prepares to open the graphs, each when it first runs; 0 threads means one per core.

        Raises:
            ProviderError: this onnxruntime does not support the device.
            PrecisionError: the bundle or the device does not have the precision.
            BundleError: the graphs were exported by another version of Charloom.
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
        """Smallest batch that gives the bits of larger ones; set by the self-check."""
        self.state = bundle.manifest.precisions[precision].state
        self.sessions = Sessions(bundle, device, precision)
        weights = bundle.manifest.architecture.parameters
        self.strategies = find_strategies(device, weights * (1 if precision == "int8" else 4), self.threads)
        self._autotuners = {kind: Autotuner() for kind in INPUTS}
        self._shards = ShardPool(self.threads)

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst of B rows by the strategy that is fastest.

        Args:
            kind: which burst graph runs.
            feeds: all of its inputs, state included.

        Returns:
            All of its outputs, state included.

        Raises:
            RunError: the runtime failed.
        """
        steps, rows = feeds["forced"].shape
        strategy = self._autotuners[kind].pick(rows, usable(self.strategies, rows))
        started = time.perf_counter()
        outputs = self.run_by(self.strategies[strategy], kind, feeds)
        self._autotuners[kind].record(strategy, rows, steps, time.perf_counter() - started)
        return outputs

    def run_by(self, strategy: Strategy, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst of B rows by a strategy of `strategies`; all give the same bits.

        Raises:
            RunError: the runtime failed.
        """
        count = min(strategy.shards, len(feeds["last"]))
        if count <= 1:
            return self._run_padded(strategy.threads, kind, feeds)
        return self._shards.run(
            lambda shard: self._run_padded(strategy.threads, kind, shard), kind, feeds, count
        )

    def _run_padded(self, threads: int, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs a burst in this thread, padded to the smallest batch that is exact."""
        rows = len(feeds["last"])
        padded = pad(feeds, INPUTS[kind], self.padding)
        outputs = self.sessions.run(kind, threads, padded)
        return outputs if padded is feeds else take(outputs, FULL_OUTPUTS, np.arange(rows))

    @property
    def execution_class(self) -> ExecutionClass:
        """The class within which the same request gives the same bytes."""
        return ExecutionClass(
            precision=self.precision,
            provider=self.device,
            runtime=runtime(),
            instruction_set=self.instruction_set,
            padding=self.padding,
        )


def open_executor(bundle: Bundle, config: RunnerConfig) -> tuple[Executor, list[str]]:
    """Makes an executor as configured; where that leaves a choice, also says why it is not a faster one.

    Raises:
        ProviderError: the requested device cannot be used.
        PrecisionError: the requested precision is not available on it.
        BundleError: the graphs were exported by another version of Charloom.
    """
    if config.device != "auto":
        return open_on(config.device, bundle, config)
    try:
        return open_on("cuda", bundle, config)
    except (ProviderError, PrecisionError) as error:
        executor, remarks = open_on("cpu", bundle, config)
        return executor, [f"not on CUDA: {error}", *remarks]


def open_on(
    device: Literal["cpu", "cuda"], bundle: Bundle, config: RunnerConfig
) -> tuple[Executor, list[str]]:
    """Makes an executor on a device; raises as `open_executor` does."""
    precision, remarks = choose_precision(bundle, device, config)
    executor = Executor(bundle, device, precision, config.threads)
    if device == "cuda":
        executor.sessions.open("plain", executor.threads)  # only a session shows whether CUDA works
    return executor, remarks


def choose_precision(
    bundle: Bundle, device: Literal["cpu", "cuda"], config: RunnerConfig
) -> tuple[Precision, list[str]]:
    """Chooses the precision to run in; with auto also says why it is not int8 if the bundle has it."""
    if config.precision != "auto":
        return config.precision, []
    held = bundle.manifest.precisions
    if "int8" not in held or (device == "cuda" and "float32" in held):
        return "float32", []
    if "float32" in held and not multiplies_bytes():
        return "float32", [f"not in int8: {NO_VNNI}"]
    return "int8", []
