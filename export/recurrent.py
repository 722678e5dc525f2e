"""The step of a recurrent network as ONNX: the cells of `networks/step.py`, folded where they can be.

Embedding, first input product and bias become one table of a row per token, which is looked up and not
multiplied.
"""

from typing import Protocol

import torch
from torch import Tensor

from charloom.burst import StateSpec
from export.graph import GraphBuilder, Value, Values
from export.products import Floats, Product, Products
from networks.recurrent import RecurrentModel

NextState = tuple[Value, ...]


class Layer:
    """The weights of one layer of a trained model, G gates side by side."""

    def __init__(self, model: RecurrentModel, index: int, products: Products) -> None:
        parameters = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        tensors = (getattr(model.recurrent, f"{name}_l{index}").detach() for name in parameters)
        inputs, hidden, self.input_bias, self.hidden_bias = tensors
        self.input_weight = inputs.T  # [I, G*H]
        self.hidden_weight = hidden.T  # [H, G*H]
        self.embedding = model.embedding.weight.detach() if model.embedding is not None else None
        self.index = index
        self.products = products

    def table(self, bias: Tensor) -> str:
        """The name of the first layer's table [V + 1, G*H]: of one-hot tokens, the weight itself."""
        name = f"layer{self.index}.table"
        product = self.input_weight if self.embedding is None else self.embedding @ self.input_weight
        self.products.weights[name] = numbers(product + bias)
        return name

    def product(self, name: str, weight: Tensor, bias: Tensor | None = None) -> Product:
        """A product of this layer."""
        of_layer = f"layer{self.index}.{name}"
        return self.products.add(of_layer, numbers(weight), None if bias is None else numbers(bias))


class GateSums:
    """The gate sums of cells in which those of both inputs just add up: [B, G*H]."""

    def __init__(self, layer: Layer) -> None:
        bias = layer.input_bias + layer.hidden_bias
        self.table = layer.table(bias) if layer.index == 0 else None
        if self.table is not None:
            self.product = layer.product("hidden", layer.hidden_weight)
        else:
            joined = torch.cat([layer.input_weight, layer.hidden_weight])
            self.product = layer.product("joined", joined, bias)

    def __call__(self, op: GraphBuilder, x: Value, h: Value) -> Value:
        """From tokens [B], or the encoded output below [B, H], and the encoded h [B, H]."""
        if self.table is not None:
            return self.product(op, h, op.Gather(op.weight(self.table), x))
        return self.product(op, op.Concat(x, h, axis=1))


class Cell(Protocol):
    """One layer of a step."""

    state: list[StateSpec]

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """From the input and the state to the encoded output [B, H] and the next state."""
        ...


class LstmCell:
    """An LSTM cell; nothing but products reads its h, so the state holds it encoded."""

    def __init__(self, layer: Layer, size: int) -> None:
        """Gates are ordered i, f, g, o, as in PyTorch."""
        self.sums = GateSums(layer)
        self.products = layer.products
        h = StateSpec(f"h_{layer.index}", layer.products.dtype, (size,), layer.products.zero)
        self.state = [h, StateSpec(f"c_{layer.index}", "float32", (size,))]

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """See Cell."""
        h, c = state
        i, f, g, o = op.several("Split", self.sums(op, x, h), outputs=4, axis=1, num_outputs=4)
        c = op.Add(op.Mul(op.Sigmoid(f), c), op.Mul(op.Sigmoid(i), op.Tanh(g)))
        h = self.products.encode(op, op.Mul(op.Sigmoid(o), op.Tanh(c)))
        return h, (h, c)


class GruCell:
    """A gated recurrent unit, the reset gate after the product.

    Its h is also what it remembers, which an encoding of few bits would wear away step by step: the state
    holds it in float32.
    """

    def __init__(self, layer: Layer, size: int) -> None:
        """Gates are ordered r, z, n."""
        self.size = size
        self.products = layer.products
        self.table = layer.table(layer.input_bias) if layer.index == 0 else None
        if self.table is None:
            self.inputs = layer.product("input", layer.input_weight, layer.input_bias)
        # The reset gate scales the recurrent bias, so it stays apart.
        self.hidden = layer.product("hidden", layer.hidden_weight, layer.hidden_bias)
        self.state = [StateSpec(f"h_{layer.index}", "float32", (size,))]

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """See Cell."""
        (h,) = state
        inputs = self.inputs(op, x) if self.table is None else op.Gather(op.weight(self.table), x)
        hidden = self.hidden(op, self.products.encode(op, h))
        gates, new = self.split(op, inputs), self.split(op, hidden)  # [B, 2H] and [B, H] each
        sums = op.Sigmoid(op.Add(gates[0], new[0]))
        r, z = op.several("Split", sums, outputs=2, axis=1, num_outputs=2)
        n = op.Tanh(op.Add(gates[1], op.Mul(r, new[1])))
        h = op.Add(n, op.Mul(z, op.Sub(h, n)))
        return self.products.encode(op, h), (h,)

    def split(self, op: GraphBuilder, sums: Value) -> Values:
        """Gate sums [B, 3H] as those of r and z [B, 2H], and of n [B, H]."""
        return op.several("Split", sums, [2 * self.size, self.size], outputs=2, axis=1)


class RnnCell:
    """A plain tanh cell; the state holds its h encoded, as an LSTM's."""

    def __init__(self, layer: Layer, size: int) -> None:
        self.sums = GateSums(layer)
        self.products = layer.products
        self.state = [StateSpec(f"h_{layer.index}", layer.products.dtype, (size,), layer.products.zero)]

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """See Cell."""
        h = self.products.encode(op, op.Tanh(self.sums(op, x, *state)))
        return h, (h,)


CELLS: dict[str, type[LstmCell] | type[GruCell] | type[RnnCell]] = {
    "lstm": LstmCell,
    "gru": GruCell,
    "rnn": RnnCell,
}


class RecurrentStep:
    """Builds a step of stacked recurrent layers and a linear output."""

    def __init__(self, model: RecurrentModel, products: Products) -> None:
        """Folds the weights of a trained model, and leaves them in `products.weights`."""
        config = model.config
        make = CELLS[config.cell]
        layers = [Layer(model, index, products) for index in range(config.layers)]
        self.cells: list[Cell] = [make(layer, config.cells) for layer in layers]
        output = model.output.weight.detach().T
        self.output = products.add("output", numbers(output), numbers(model.output.bias))
        self.state = [spec for cell in self.cells for spec in cell.state]

    def advance(self, op: GraphBuilder, last: Value, state: Values) -> tuple[Value, Values]:
        """Feeds last, int64 [B]; gives the top layer's encoded output [B, H] and the next state."""
        x, rest, following = last, list(state), list[Value]()
        for cell in self.cells:
            mine, rest = rest[: len(cell.state)], rest[len(cell.state) :]
            x, new = cell(op, x, *mine)
            following += new
        return x, following

    def scores(self, op: GraphBuilder, features: Value) -> Value:
        """From the top layer's encoded output to scores [B, V]."""
        return self.output(op, features)


def numbers(tensor: Tensor) -> Floats:
    """A torch tensor as a contiguous float32 array."""
    array: Floats = tensor.detach().float().contiguous().numpy()
    return array
