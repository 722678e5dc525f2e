"""From a burst module to a serialised ONNX model.

It knows the exporter and its ways, and nothing of what the burst computes.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch

from charloom.bundle import Graph, TensorInfo
from charloom.burst import StateSpec, TensorSpec
from export.burst import Burst
from export.quantize import translations

TRACED = {"B": 3, "K": 5, "W": 4, "N": 2}
"""Sizes of the dynamic dimensions while the graph is traced: 0 and 1 would be taken as fixed."""


def trace(burst: Burst, vocabulary_size: int, state: list[StateSpec]) -> bytes:
    """Exports a burst with dynamic B, K, W and N to a serialised ONNX model."""
    sizes = TRACED | {"V": vocabulary_size}
    inputs = [*burst.inputs, *(TensorSpec(s.name, s.dtype, ("B", *s.shape)) for s in state)]
    dynamic = {letter: torch.export.Dim(letter) for letter in TRACED}
    with quiet():
        program = torch.onnx.export(
            burst.requires_grad_(False).eval(),
            tuple(torch.from_numpy(spec.fill(sizes)) for spec in inputs),
            dynamo=True,
            verbose=False,
            dynamic_shapes=(
                tuple({i: dynamic[d] for i, d in enumerate(spec.dims) if d in TRACED} for spec in inputs),
            ),
            custom_translation_table=dict(translations()),
            input_names=[spec.name for spec in inputs],
            output_names=[*(spec.name for spec in burst.outputs), *(s.output for s in state)],
        )
    assert program is not None, "the exporter gives a program unless it is told to write a file"
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def describe(data: bytes, file: str) -> Graph:
    """The inputs and outputs of a serialised model, as a manifest lists them."""
    graph = onnx.load_model_from_string(data).graph
    return Graph(file, [info(value) for value in graph.input], [info(value) for value in graph.output])


def info(value: onnx.ValueInfoProto) -> TensorInfo:
    """Name, type and shape of one input or output."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorInfo(value.name, dtype, [d.dim_param or d.dim_value for d in tensor.shape.dim])


def strip(model: onnx.ModelProto) -> None:
    """Drops what the exporter notes of the source: paths of this machine have no place in a bundle."""
    for graph in graphs(model.graph):
        del graph.metadata_props[:]
        parts: tuple[Any, ...] = (
            *graph.node,
            *graph.input,
            *graph.output,
            *graph.value_info,
            *graph.initializer,
        )
        for part in parts:
            del part.metadata_props[:]
            part.doc_string = ""


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporter's remarks on packages and internals that are not the user's concern."""
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in ("torch.onnx", "onnx_ir")}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
