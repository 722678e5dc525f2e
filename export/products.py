"""Products of a step with its weights, in float32 or in int8 with a fixed scale.

In int8 every factor is known to lie within -1 and 1, so 1/127 is its scale whatever the text: nothing is
calibrated, and a row's numbers do not depend on the other rows, as they would with a scale taken from the
batch. A factor becomes an unsigned byte around 128; each column of a weight is scaled by itself to use all
of -127 to 127 (Jacob et al. 2018).
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from charloom.burst import StateSpec
from export.graph import MICROSOFT, GraphBuilder, Value

BYTE_SCALE = 127
BYTE_ZERO = 128
"""A factor within -1 and 1 as a byte: factor * BYTE_SCALE + BYTE_ZERO, to the nearest."""

Floats = npt.NDArray[np.float32]
Weights = dict[str, npt.NDArray[np.generic]]
"""The tensors of a step by name, as the file of weights holds them."""


class Product(Protocol):
    """Rows times a weight [I, O], plus one addend."""

    def __call__(self, op: GraphBuilder, rows: Value, addend: Value | None = None) -> Value:
        """From encoded rows [B, I] to float32 [B, O]; adds `addend` [B, O], or else its own bias [O]."""
        ...


class Products(Protocol):
    """Makes the products of a step, all in one precision, and collects their weights."""

    dtype: str
    """Type of an encoded factor."""
    weights: Weights

    def encoded(self, spec: StateSpec) -> StateSpec:
        """Specifies a state tensor of factors as `encode` gives it."""
        ...

    def encode(self, op: GraphBuilder, h: Value) -> Value:
        """Factors, float32 [B, H] within -1 and 1, as products take them."""
        ...

    def add(self, name: str, weight: Floats, bias: Floats | None = None) -> Product:
        """The product with weight [I, O], and its bias [O]."""
        ...


class FloatProduct:
    """A product in float32."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, op: GraphBuilder, rows: Value, addend: Value | None = None) -> Value:
        """See Product."""
        weight = op.weight(f"{self.name}.weight")
        return op.Gemm(rows, weight, op.weight(f"{self.name}.bias") if addend is None else addend)


class FloatProducts:
    """Products in float32: a factor is its own encoding."""

    dtype = "float32"

    def __init__(self) -> None:
        self.weights: Weights = {}

    def encoded(self, spec: StateSpec) -> StateSpec:
        """See Products."""
        return spec

    def encode(self, op: GraphBuilder, h: Value) -> Value:  # noqa: ARG002
        """See Products."""
        return h

    def add(self, name: str, weight: Floats, bias: Floats | None = None) -> Product:
        """See Products."""
        self.weights[f"{name}.weight"] = weight
        if bias is not None:
            self.weights[f"{name}.bias"] = bias
        return FloatProduct(name)


class ByteProduct:
    """A product in int8."""

    def __init__(self, name: str, *, has_bias: bool) -> None:
        self.name = name
        self.has_bias = has_bias

    def __call__(self, op: GraphBuilder, rows: Value, addend: Value | None = None) -> Value:
        """See Product."""
        product = op.MatMulIntegerToFloat(
            rows,
            op.weight(f"{self.name}.weight"),
            op.constant(np.float32(1 / BYTE_SCALE)),
            op.weight(f"{self.name}.scale"),
            op.constant(np.uint8(BYTE_ZERO)),
            None,  # given a zero point of the weight, even of zeros, the runtime sums up every row
            op.weight(f"{self.name}.bias") if self.has_bias and addend is None else None,
            domain=MICROSOFT,
        )
        return product if addend is None else op.Add(product, addend)


class ByteProducts:
    """Products in int8: an encoded factor is a vector of bytes."""

    dtype = "uint8"

    def __init__(self) -> None:
        self.weights: Weights = {}

    def encoded(self, spec: StateSpec) -> StateSpec:
        """See Products."""
        return StateSpec(spec.name, self.dtype, spec.shape, BYTE_ZERO, scale=1 / BYTE_SCALE, zero=BYTE_ZERO)

    def encode(self, op: GraphBuilder, h: Value) -> Value:
        """See Products."""
        return op.QuantizeLinear(h, np.float32(1 / BYTE_SCALE), np.uint8(BYTE_ZERO))

    def add(self, name: str, weight: Floats, bias: Floats | None = None) -> Product:
        """See Products."""
        scale = column_scale(weight)
        self.weights[f"{name}.weight"] = np.rint(weight / scale).astype(np.int8)
        self.weights[f"{name}.scale"] = scale
        if bias is not None:
            self.weights[f"{name}.bias"] = bias
        return ByteProduct(name, has_bias=bias is not None)


def column_scale(weight: Floats) -> Floats:
    """What 1 stands for in each column of an int8 weight [I, O]: float32 [O]."""
    largest = np.abs(weight).max(0)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1))
