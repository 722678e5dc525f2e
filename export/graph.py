"""ONNX graphs under construction: every operator is a method, and numbers become constants."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.tape import Tape

from charloom.burst import TensorSpec

Value = ir.Value
Values = Sequence[Value]
Number = np.generic | npt.NDArray[Any] | float | list[int]
"""A constant: of type float32 or int64 unless numpy says which."""
Operand = Value | Number | None
"""An input of an operator: a number is a constant, None an omitted input."""

OPSET = 20
IR_VERSION = 10
MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators."""


class Initializers:
    """The constants and weights of a model, and what else all of its graphs share.

    They belong to the outermost graph, where the bodies in it can read them: onnxruntime repacks the
    weight of a product once for all steps of a Scan only there.
    """

    def __init__(self, weights: Mapping[str, ir.TensorProtocol]) -> None:
        """Takes the weights that a graph may use, by name."""
        self.weights = weights
        self.used: list[str] = []
        """The weights that a graph does use."""
        self.opsets = {"": OPSET}
        self._values: dict[object, Value] = {}
        self._numbers = count()

    @property
    def values(self) -> Values:
        """All that graphs have asked for so far."""
        return list(self._values.values())

    def name(self, operator: str) -> str:
        """A name that nothing else in the model has."""
        return f"{operator.lower()}_{next(self._numbers)}"

    def weight(self, name: str) -> Value:
        """A weight; raises KeyError for an unknown one."""
        if name not in self.used:
            self._values[name] = initializer(name, self.weights[name])
            self.used.append(name)
        return self._values[name]

    def constant(self, value: Number) -> Value:
        """A number, or a vector of them; equal ones are one initializer."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._values:
            name = self.name("constant")
            self._values[key] = initializer(name, ir.tensor(array, name=name))
        return self._values[key]


class GraphBuilder:
    """A graph, or the body of a Scan or an If, under construction.

    Every ONNX operator is a method: `op.Add(x, 1.0)` appends a node and returns its first output. Inputs are
    passed by position, attributes by keyword, and a `domain` other than ONNX's own.
    """

    def __init__(self, initializers: Initializers) -> None:
        self.initializers = initializers
        self._tape = Tape()

    def __getattr__(self, operator: str) -> Callable[..., Value]:
        if not operator[0].isupper():
            raise AttributeError(operator)

        def append(*inputs: Operand, domain: str = "", **attributes: Any) -> Value:
            return self.several(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

        return append

    def several(
        self, operator: str, *inputs: Operand, outputs: int, domain: str = "", **attributes: Any
    ) -> Values:
        """Appends an operator of several outputs."""
        if domain:
            self.initializers.opsets[domain] = 1
        operands = [x if x is None or isinstance(x, Value) else self.constant(x) for x in inputs]
        values = [Value(name=self.initializers.name(operator)) for _ in range(outputs)]
        return self._tape.op_multi_out(operator, operands, attributes, outputs=values, domain=domain)

    def weight(self, name: str) -> Value:
        """A weight of the model."""
        return self.initializers.weight(name)

    def constant(self, value: Number) -> Value:
        """A number, or a vector of them."""
        return self.initializers.constant(value)

    def scan(
        self,
        step: Callable[["GraphBuilder", Values, Values], tuple[Values, Values]],
        carry: Values,
        sequences: Values,
        outputs: int,
    ) -> tuple[Values, Values]:
        """Runs `step` over the first axis of all sequences.

        Args:
            step: builds the body: from the carry and an element of each sequence to the next carry and
                the step's outputs.
            carry: what the first step gets.
            sequences: each [K, ...].
            outputs: how many outputs a step has.

        Returns:
            The carry after the last step, and the outputs, each [K, ...].
        """
        body = GraphBuilder(self.initializers)
        carried = [Value(name=self.initializers.name("carry")) for _ in carry]
        elements = [Value(name=self.initializers.name("element")) for _ in sequences]
        following, reported = step(body, carried, elements)
        values = self.several(
            "Scan",
            *carry,
            *sequences,
            outputs=len(carry) + outputs,
            body=body.graph("step", [*carried, *elements], [*following, *reported]),
            num_scan_inputs=len(sequences),
        )
        return values[: len(carry)], values[len(carry) :]

    def branch(self, condition: Value, then: Callable[["GraphBuilder"], Value], otherwise: Value) -> Value:
        """What `then` builds if the condition, bool [], holds, else the other value."""
        yes, no = GraphBuilder(self.initializers), GraphBuilder(self.initializers)
        return self.If(
            condition,
            then_branch=yes.graph("then", [], [then(yes)]),
            else_branch=no.graph("else", [], [no.Identity(otherwise)]),
        )

    def graph(self, name: str, inputs: Values, outputs: Values, initializers: Values = ()) -> ir.Graph:
        """The graph as it stands."""
        opsets = self.initializers.opsets
        nodes = self._tape.nodes
        return ir.Graph(
            inputs, outputs, nodes=nodes, initializers=initializers, opset_imports=opsets, name=name
        )

    def serialize(self, inputs: Values, outputs: Values, specs: Sequence[TensorSpec]) -> bytes:
        """The whole model of this outermost graph; `specs` has the name, type and shape of each output."""
        for value, spec in zip(outputs, specs, strict=True):
            value.name, value.dtype, value.shape = spec.name, data_type(spec.dtype), ir.Shape(spec.dims)
        graph = self.graph("burst", inputs, outputs, self.initializers.values)
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="charloom")
        return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


def graph_input(spec: TensorSpec) -> Value:
    """An input of a model."""
    return Value(name=spec.name, shape=ir.Shape(spec.dims), type=ir.TensorType(data_type(spec.dtype)))


def initializer(name: str, tensor: ir.TensorProtocol) -> Value:
    """A tensor that a model holds, or names in a file."""
    shape = ir.Shape(tensor.shape.numpy())
    return Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def data_type(dtype: str) -> ir.DataType:
    """ONNX's type of a numpy type."""
    return ir.DataType.from_numpy(np.dtype(dtype))
