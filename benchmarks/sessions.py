"""Graphs that hold their own weights, opened by onnxruntime on the CPU, for comparisons."""

import onnx_ir as ir
import onnxruntime

from export.products import Weights


def inline(weights: Weights) -> dict[str, ir.TensorProtocol]:
    """Weights as tensors that a graph holds itself."""
    return {name: ir.tensor(array, name=name) for name, array in weights.items()}


def open_session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A serialized model with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
