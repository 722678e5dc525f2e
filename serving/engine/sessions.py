"""Sessions: opens a bundle's burst graphs in onnxruntime. The only file that imports onnxruntime."""

from dataclasses import dataclass
from threading import Lock
from typing import Literal

import onnxruntime

from charloom.bundle import Bundle
from charloom.burst import INPUTS, Feeds, GraphKind
from charloom.execution_class import Precision
from charloom.manifest import BundleError
from serving.engine.graph_reader import GraphError, read_weights
from serving.engine.runner import ProviderError, RunError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class GraphSession:
    """One burst graph, opened on so many threads."""

    session: onnxruntime.InferenceSession
    outputs: list[str]
    """Names of its outputs."""


class Sessions:
    """The sessions of one bundle in one precision on one device.

    A session belongs to a graph and a number of threads, and keeps a copy of all weights. So each is opened
    when it first runs.
    """

    def __init__(self, bundle: Bundle, device: Literal["cpu", "cuda"], precision: Precision) -> None:
        """Checks that the graphs take what this version feeds them; opens none.

        Raises:
            ProviderError: this onnxruntime does not support the device.
            BundleError: the graphs were exported by another version of Charloom.
        """
        check_inputs(bundle, precision)
        if PROVIDERS[device] not in onnxruntime.get_available_providers():
            raise ProviderError("this onnxruntime has no CUDA; the extra serve-gpu brings one that has")
        self._bundle = bundle
        self._device = device
        self._precision: Precision = precision
        self._sessions: dict[tuple[GraphKind, int], GraphSession] = {}
        self._lock = Lock()

    def run(self, kind: GraphKind, threads: int, feeds: Feeds) -> Feeds:
        """Runs one burst in the calling thread, on so many threads; gives the outputs by name.

        Raises:
            RunError: onnxruntime failed.
            ProviderError: the session could not be opened.
            BundleError: the graph's file was altered since the bundle was opened.
        """
        opened = self.open(kind, threads)
        try:
            outputs = opened.session.run(opened.outputs, feeds)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise RunError(f"onnxruntime: {error}") from error
        return dict(zip(opened.outputs, outputs, strict=True))

    def open(self, kind: GraphKind, threads: int) -> GraphSession:
        """Returns the session of a graph and a number of threads, which is opened if it is not yet.

        Raises:
            ProviderError: onnxruntime cannot load the graph, or did not start the device.
            BundleError: the graph's file was altered since the bundle was opened.
        """
        with self._lock:  # shards of one burst may need it at the same time
            opened = self._sessions.get((kind, threads))
            if opened is None:
                opened = open_session(self._bundle, self._precision, kind, self._device, threads)
                self._sessions[kind, threads] = opened
            return opened


def open_session(
    bundle: Bundle, precision: Precision, kind: GraphKind, device: Literal["cpu", "cuda"], threads: int
) -> GraphSession:
    """Opens one burst graph.

    Raises:
        ProviderError: onnxruntime cannot load the graph, or did not start the device.
        BundleError: a file was altered since the bundle was opened, or the graph takes files of its own.
    """
    graph = bundle.graph(precision, kind)
    tensors = read_tensors(bundle, precision, kind, graph)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
    options = onnxruntime.SessionOptions()
    options.add_external_initializers(list(tensors), values)
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    provider = PROVIDERS[device]
    providers = [provider] if device == "cpu" else [provider, PROVIDERS["cpu"]]
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise ProviderError(f"onnxruntime cannot load the graph on {device}: {error}") from error
    # A provider that fails to start is dropped with no more than a line in the log.
    if session.get_providers()[0] != provider:
        raise ProviderError(
            f"onnxruntime did not start {provider}; is a driver for its CUDA version installed?"
        )
    return GraphSession(session, [output.name for output in session.get_outputs()])


def read_tensors(bundle: Bundle, precision: Precision, kind: GraphKind, graph: bytes) -> Feeds:
    """Returns the weights that a graph takes, by name.

    Raises:
        BundleError: a file was altered since the bundle was opened, or the graph takes anything else.
    """
    variant = bundle.manifest.precisions[precision]
    try:
        return read_weights(graph, variant.weights, bundle.weights(precision))
    except GraphError as error:
        raise BundleError(bundle.path / variant.graphs[kind].file, str(error)) from error


def check_inputs(bundle: Bundle, precision: Precision) -> None:
    """Raises BundleError unless the graphs of a precision take what this version feeds them."""
    variant = bundle.manifest.precisions[precision]
    for kind, graph in variant.graphs.items():
        fed = {spec.name for spec in INPUTS[kind]} | {spec.name for spec in variant.state}
        if fed != {info.name for info in graph.inputs}:
            reason = f"{graph.file} was exported by another version of Charloom: export it again"
            raise BundleError(bundle.path, reason)


def runtime() -> str:
    """Returns the name and version of the runtime, as execution classes state it."""
    return f"onnxruntime-{onnxruntime.__version__}"
