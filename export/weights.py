"""The weights of a bundle's graphs in one precision, as one safetensors file that all of them share."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from safetensors.numpy import save

LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, a little-endian number of this size."""


class WeightsFile:
    """The bytes of a file of weights, and where in it each tensor lies."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        self.tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        self.data = save(self.tensors)

    def references(self, file: str) -> dict[str, ir.ExternalTensor]:
        """Each tensor as graphs name it that are written beside a file of these bytes."""
        begin = LENGTH_BYTES + int.from_bytes(self.data[:LENGTH_BYTES], "little")
        header = json.loads(self.data[LENGTH_BYTES:begin])
        return {
            name: ir.ExternalTensor(
                file,
                begin + header[name]["data_offsets"][0],
                array.nbytes,
                ir.DataType.from_numpy(array.dtype),
                shape=ir.Shape(array.shape),
                name=name,
            )
            for name, array in self.tensors.items()
        }
