"""The runner: a bundle's burst graphs on a device. The only file here that knows onnxruntime.

It knows tensors and providers, and nothing of streams.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import onnxruntime

from charloom.bundle import Bundle
from charloom.burst import FULL_OUTPUTS, INPUTS, Feeds, GraphKind, pad, take
from charloom.errors import CharloomError, require
from charloom.execution_class import ExecutionClass, instruction_set
from charloom.machine import available_cores

Device = Literal["auto", "cpu", "cuda"]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class RunnerConfig:
    """Where and how bursts run."""

    device: Device = "auto"
    """auto takes CUDA where onnxruntime has it and it works, else the CPU."""
    threads: int = 0
    """Threads of a burst on the CPU; 0 for one per core."""

    def __post_init__(self) -> None:
        require(self.device in get_args(Device), "device", f"must be one of {', '.join(get_args(Device))}")
        require(self.threads >= 0, "threads", "must be 0 (one per core) or more")


class DeviceError(CharloomError):
    """The device that was asked for cannot be used."""


class RunError(CharloomError):
    """The runtime could not run a burst."""


class Runner:
    """Runs bursts of one bundle on one device."""

    def __init__(self, bundle: Bundle, device: Literal["cpu", "cuda"], threads: int = 0) -> None:
        """Loads both graphs.

        Raises:
            DeviceError: the session did not get the device, or the graph cannot be loaded.
        """
        self.device = device
        self.threads = threads or available_cores()
        self.precision = bundle.manifest.precision
        self.instruction_set = instruction_set()  # read once: every request reports its class
        self.padding = bundle.manifest.padding
        self._sessions = {kind: self._open(bundle.graph(kind)) for kind in INPUTS}
        self._names = {kind: [o.name for o in s.get_outputs()] for kind, s in self._sessions.items()}

    def _open(self, graph: bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
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
        """Runs one burst of B rows, padded to the smallest batch that is exact.

        Raises:
            RunError: the runtime failed.
        """
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


def open_runner(bundle: Bundle, config: RunnerConfig) -> tuple[Runner, str | None]:
    """A runner on the device that is asked for; with auto also why it is not CUDA, where it is not.

    Raises:
        DeviceError: the device that was asked for cannot be used.
    """
    if config.device != "auto":
        return Runner(bundle, config.device, config.threads), None
    try:
        return Runner(bundle, "cuda", config.threads), None
    except DeviceError as error:
        return Runner(bundle, "cpu", config.threads), str(error)
