"""The step of a recurrent network as ONNX: the cells of `networks/recurrent/step.py`, of the same weights."""

from typing import Protocol

from torch import Tensor

from charloom.burst import StateSpec
from export.graph import GraphBuilder, Value, Values
from export.products import Floats, Products
from networks.language_model import LanguageModel
from networks.recurrent import step
from networks.recurrent.step import RecurrentStep

NextState = tuple[Value, ...]


class TokenSumsBuilder:
    """What the gates of the first layer get of each token, in float32 in every precision.

    An embedding is not within -1 and 1, as what is multiplied in int8 has to be.
    """

    def __init__(self, sums: step.TokenSums, name: str, products: Products) -> None:
        self.name = name
        self.has_table = sums.table is not None
        if sums.table is not None:
            products.weights[f"{name}.table"] = numbers(sums.table)
            return
        for part in ("embedding", "weight", "bias"):
            products.weights[f"{name}.tokens.{part}"] = numbers(getattr(sums, part))

    def __call__(self, op: GraphBuilder, x: Value) -> Value:
        """From tokens [B] to [B, G*H]."""
        if self.has_table:
            return op.Gather(op.weight(f"{self.name}.table"), x)
        embedding, weight, bias = (
            op.weight(f"{self.name}.tokens.{part}") for part in ("embedding", "weight", "bias")
        )
        return op.Gemm(op.Gather(embedding, x), weight, bias)


class GateSumsBuilder:
    """The gate sums of cells in which those of both inputs just add up."""

    def __init__(self, sums: step.GateSums, name: str, products: Products) -> None:
        self.tokens = None if sums.tokens is None else TokenSumsBuilder(sums.tokens, name, products)
        bias = None if sums.bias is None else numbers(sums.bias)
        self.product = products.add(f"{name}.sums", numbers(sums.weight), bias)

    def __call__(self, op: GraphBuilder, x: Value, h: Value) -> Value:
        """From tokens [B], or the encoded output below [B, H], and the encoded h [B, H] to [B, G*H]."""
        if self.tokens is not None:
            return self.product(op, h, self.tokens(op, x))
        return self.product(op, op.Concat(x, h, axis=1))


class CellBuilder(Protocol):
    """One layer of a step."""

    state: list[StateSpec]

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """From the input and the state to the encoded output [B, H] and the next state."""
        ...


class LstmCellBuilder:
    """An LSTM cell; nothing but products reads its h, so the state holds it encoded."""

    def __init__(self, cell: step.LstmCell, specs: list[StateSpec], name: str, products: Products) -> None:
        self.sums = GateSumsBuilder(cell.sums, name, products)
        self.encode = products.encode
        h, c = specs
        self.state = [products.encoded(h), c]

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """See CellBuilder."""
        h, c = state
        i, f, g, o = op.several("Split", self.sums(op, x, h), outputs=4, axis=1, num_outputs=4)
        c = op.Add(op.Mul(op.Sigmoid(f), c), op.Mul(op.Sigmoid(i), op.Tanh(g)))
        h = self.encode(op, op.Mul(op.Sigmoid(o), op.Tanh(c)))
        return h, (h, c)


class GruCellBuilder:
    """A gated recurrent unit.

    Its h is also what it remembers, which an encoding of few bits would wear away step by step: the state
    holds it in float32.
    """

    def __init__(self, cell: step.GruCell, specs: list[StateSpec], name: str, products: Products) -> None:
        self.state = specs
        self.encode = products.encode
        self.tokens = None if cell.tokens is None else TokenSumsBuilder(cell.tokens, name, products)
        if cell.input_weight is not None and cell.input_bias is not None:
            self.inputs = products.add(f"{name}.inputs", numbers(cell.input_weight), numbers(cell.input_bias))
        self.hidden = products.add(f"{name}.hidden", numbers(cell.hidden_weight), numbers(cell.hidden_bias))

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """See CellBuilder."""
        (h,) = state
        inputs = self.inputs(op, x) if self.tokens is None else self.tokens(op, x)
        hidden = self.hidden(op, self.encode(op, h))
        below, own = self.split(op, inputs), self.split(op, hidden)  # [B, 2H] and [B, H] each
        r, z = op.several("Split", op.Sigmoid(op.Add(below[0], own[0])), outputs=2, axis=1, num_outputs=2)
        n = op.Tanh(op.Add(below[1], op.Mul(r, own[1])))
        h = op.Add(n, op.Mul(z, op.Sub(h, n)))
        return self.encode(op, h), (h,)

    def split(self, op: GraphBuilder, sums: Value) -> Values:
        """Gate sums [B, 3H] as those of r and z [B, 2H], and of n [B, H]."""
        (size,) = self.state[0].shape
        return op.several("Split", sums, [2 * size, size], outputs=2, axis=1)


class RnnCellBuilder:
    """A plain tanh cell; the state holds its h encoded, as an LSTM's."""

    def __init__(self, cell: step.RnnCell, specs: list[StateSpec], name: str, products: Products) -> None:
        self.sums = GateSumsBuilder(cell.sums, name, products)
        self.encode = products.encode
        self.state = [products.encoded(h) for h in specs]

    def __call__(self, op: GraphBuilder, x: Value, *state: Value) -> tuple[Value, NextState]:
        """See CellBuilder."""
        h = self.encode(op, op.Tanh(self.sums(op, x, *state)))
        return h, (h,)


class RecurrentStepBuilder:
    """Builds a step of stacked recurrent layers and a linear output."""

    def __init__(self, model: LanguageModel, products: Products) -> None:
        """Leaves the weights of a trained model in `products.weights`."""
        folded = model.step()
        assert isinstance(folded, RecurrentStep), "the registry pairs networks and builders"
        width = len(folded.specs) // len(folded.cells)
        self.cells = [
            build_cell(cell, list(folded.specs[i * width : (i + 1) * width]), f"layer{i}", products)
            for i, cell in enumerate(folded.cells)
        ]
        self.output = products.add("output", numbers(folded.output_weight), numbers(folded.output_bias))
        self.state = [spec for cell in self.cells for spec in cell.state]

    def advance(self, op: GraphBuilder, last: Value, state: Values) -> tuple[Value, Values]:
        """See StepBuilder; the features are the top layer's encoded output [B, H]."""
        x, rest = last, list(state)
        following: list[Value] = []
        for cell in self.cells:
            count = len(cell.state)
            x, new = cell(op, x, *rest[:count])
            rest = rest[count:]
            following += new
        return x, following

    def scores(self, op: GraphBuilder, features: Value) -> Value:
        """See StepBuilder."""
        return self.output(op, features)


def build_cell(cell: object, specs: list[StateSpec], name: str, products: Products) -> CellBuilder:
    """Builds a layer with the weights of a cell in torch."""
    match cell:
        case step.LstmCell():
            return LstmCellBuilder(cell, specs, name, products)
        case step.GruCell():
            return GruCellBuilder(cell, specs, name, products)
        case step.RnnCell():
            return RnnCellBuilder(cell, specs, name, products)
    raise AssertionError(f"{cell} is no recurrent cell")


def numbers(tensor: Tensor) -> Floats:
    """Gives a torch tensor as a contiguous float32 array."""
    array: Floats = tensor.detach().float().contiguous().numpy()
    return array
