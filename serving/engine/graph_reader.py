"""Looks at a graph before the runtime does: what it takes from the bundle's file of weights."""

from collections.abc import Iterator

import numpy as np
import onnx

from charloom.burst import Array, Feeds

Location = dict[str, str]


class GraphError(ValueError):
    """A graph is malformed, or takes something from outside the bundle's file of weights."""


def read_weights(graph: bytes, file: str, weights: bytes) -> Feeds:
    """The tensors that a serialized graph takes from the file of weights, by name; they share its memory.

    The runtime would open any file that a graph names. So every tensor that a graph does not hold itself
    must be an initializer of the outermost graph that lies in the file of weights; the runtime gets it from
    memory.

    Raises:
        GraphError: the graph is no ONNX model, or has any other external data.
    """
    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf's, a package that the engine does not import
        raise GraphError("is no ONNX model") from error
    own = [tensor for tensor in model.graph.initializer if is_external(tensor)]
    if sum(is_external(tensor) for tensor in tensors(model)) != len(own):
        raise GraphError("has external data that is no initializer of the outermost graph")
    return {tensor.name: read_tensor(tensor, file, weights) for tensor in own}


def read_tensor(tensor: onnx.TensorProto, file: str, weights: bytes) -> Array:
    """One tensor of the file of weights."""
    location: Location = {entry.key: entry.value for entry in tensor.external_data}
    if location.get("location") != file:
        raise GraphError(f"takes {tensor.name!r} from {location.get('location')!r}, not from {file}")
    try:
        begin, length = int(location.get("offset", "0")), int(location["length"])
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError) as error:
        raise GraphError(f"does not say where in {file} {tensor.name!r} lies, or of what type") from error
    shape = tuple(tensor.dims)
    fits = begin >= 0 and begin + length <= len(weights) and all(size >= 0 for size in shape)
    if dtype.kind not in "iufb" or not fits or length != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise GraphError(f"names a place in {file} that cannot hold {tensor.name!r}")
    return np.frombuffer(weights, dtype, count=length // dtype.itemsize, offset=begin).reshape(shape)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's numbers lie in a file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data)


def tensors(message: object) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere in a model: in graphs, bodies, attributes and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from tensors(part)
