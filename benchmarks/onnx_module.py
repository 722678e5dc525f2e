"""Any torch module in onnxruntime, for comparisons."""

from collections.abc import Sequence

import onnxruntime
import torch
from torch import nn

from charloom.burst import Array
from export.onnx_graph import quiet
from export.quantize import translations


def export_module(module: nn.Module, examples: Sequence[Array], names: Sequence[str]) -> bytes:
    """A serialised ONNX model; the first dimension of every input is the batch."""
    batch = torch.export.Dim("B")
    with quiet():
        program = torch.onnx.export(
            module.requires_grad_(False).eval(),
            tuple(torch.from_numpy(example) for example in examples),
            dynamo=True,
            verbose=False,
            dynamic_shapes=(tuple({0: batch} for _ in examples),),
            custom_translation_table=dict(translations()),
            input_names=list(names),
        )
    assert program is not None, "the exporter gives a program unless it is told to write a file"
    return bytes(program.model_proto.SerializeToString())


def open_session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    """The model on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
