"""Products in int8 with a fixed scale: the numbers of an int8 bundle.

Every vector that is multiplied is an h within -1 and 1, so 1/127 is its scale whatever the text:
nothing is calibrated, and a row's numbers do not depend on the other rows, as they would with a
scale taken from the batch. An h becomes an unsigned byte around 128; each column of a weight is
scaled by itself to use all of -127 to 127 (Jacob et al. 2018).

Two torch operators with a plain definition, each with the ONNX node that it becomes. It knows
neither cells nor bursts.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnx.defs import OpSchema
from onnxscript import opset20 as op
from onnxscript.values import Op, Opset
from torch import Tensor, nn

from networks.recurrent.step import BYTE_SCALE, BYTE_ZERO, Product, frozen


@torch.library.custom_op("charloom::to_bytes", mutates_args=())
def to_bytes(h: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """float32 [B, H] within -1 and 1 to the nearest bytes; halves go to the even one."""
    return (torch.round(h / scale) + zero).to(torch.uint8)


@to_bytes.register_fake
def _(h: Tensor, scale: Tensor, zero: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(h, dtype=torch.uint8)


@torch.library.custom_op("charloom::byte_product", mutates_args=())
def byte_product(
    rows: Tensor, weight: Tensor, rows_scale: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None
) -> Tensor:
    """Bytes [B, I] times int8 weight [I, O], scaled per column [O], plus bias [O]: float32 [B, O]."""
    # Sums stay far below 2**53: in float64 the product is that of integers.
    sums = (rows.double() - zero) @ weight.double()
    product = sums.float() * (scale * rows_scale)
    return product if bias is None else product + bias


@byte_product.register_fake
def _(rows: Tensor, weight: Tensor, *others: Tensor | None) -> Tensor:  # noqa: ARG001
    return rows.new_empty((rows.shape[0], weight.shape[1]), dtype=torch.float32)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What the exporter puts for the two operators."""
    multiply = Op(Opset("com.microsoft", 1), "MatMulIntegerToFloat", schema())

    def onnx_to_bytes(h: Any, scale: Any, zero: Any) -> Any:
        return op.QuantizeLinear(h, scale, zero)

    def onnx_byte_product(
        rows: Any, weight: Any, rows_scale: Any, scale: Any, zero: Any, bias: Any = None
    ) -> Any:
        # No zero point of the weight: given one, even of zeros, the runtime sums up every row.
        return multiply(rows, weight, rows_scale, scale, zero, None, bias)

    return {
        torch.ops.charloom.to_bytes.default: onnx_to_bytes,
        torch.ops.charloom.byte_product.default: onnx_byte_product,
    }


def schema() -> OpSchema:
    """What the exporter has to know of an operator that is onnxruntime's own."""
    needed, optional = OpSchema.FormalParameterOption.Single, OpSchema.FormalParameterOption.Optional
    inputs = [
        OpSchema.FormalParameter("A", "tensor(uint8)", param_option=needed),
        OpSchema.FormalParameter("B", "tensor(int8)", param_option=needed),
        OpSchema.FormalParameter("a_scale", "tensor(float)", param_option=needed),
        OpSchema.FormalParameter("b_scale", "tensor(float)", param_option=needed),
        OpSchema.FormalParameter("a_zero_point", "tensor(uint8)", param_option=optional),
        OpSchema.FormalParameter("b_zero_point", "tensor(int8)", param_option=optional),
        OpSchema.FormalParameter("bias", "tensor(float)", param_option=optional),
    ]
    outputs = [OpSchema.FormalParameter("Y", "tensor(float)")]
    return OpSchema("MatMulIntegerToFloat", "com.microsoft", 1, inputs=inputs, outputs=outputs)


class Bytes(nn.Module):
    """h as bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = frozen(torch.tensor(1 / BYTE_SCALE))
        self.zero = frozen(torch.tensor(BYTE_ZERO, dtype=torch.uint8))

    def forward(self, h: Tensor) -> Tensor:
        """See networks.recurrent.step.Numbers.encode."""
        encoded: Tensor = to_bytes(h, self.scale, self.zero)
        return encoded


class Int8Product(nn.Module):
    """A product in int8."""

    def __init__(self, weight: Tensor, bias: Tensor | None, encoding: Bytes) -> None:
        """Takes the float32 weight [I, O] and bias [O]."""
        super().__init__()
        largest = weight.abs().amax(0)  # [O]
        scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
        self.weight = frozen(torch.round(weight / scale).to(torch.int8))
        self.scale = frozen(scale)
        self.bias = None if bias is None else frozen(bias)
        self.encoding = encoding

    def forward(self, rows: Tensor, addend: Tensor | None = None) -> Tensor:
        """See networks.recurrent.step.Product."""
        bias = self.bias if addend is None else None
        rows_scale, zero = self.encoding.scale, self.encoding.zero
        product: Tensor = byte_product(rows, self.weight, rows_scale, self.scale, zero, bias)
        return product if addend is None else product + addend


class Int8:
    """Products in int8; an encoded h is a vector of bytes."""

    dtype = "uint8"
    zero = BYTE_ZERO

    def __init__(self) -> None:
        self.encode = Bytes()

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """See networks.recurrent.step.Numbers."""
        return Int8Product(weight, bias, self.encode)
