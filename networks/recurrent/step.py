"""The recurrent network one token at a time, as explicit arithmetic.

It is the one definition of the cells outside the fused kernels: previews and exported graphs run it.
The numbers in which its products are computed are exchangeable: float32 here, int8 in
`export/quantize.py`.

Whatever depends on constants alone is computed beforehand: embedding, first input product and
bias become one table of a row per token, which is looked up and not multiplied.
"""

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.burst import StateSpec
from networks.language_model import State, Step
from networks.recurrent.config import RecurrentConfig

if TYPE_CHECKING:
    from networks.recurrent.model import RecurrentModel

BYTE_SCALE = 127
BYTE_ZERO = 128
"""An h, which lies within -1 and 1, as a byte: h * BYTE_SCALE + BYTE_ZERO, to the nearest."""


def frozen(value: Tensor) -> nn.Parameter:
    """Copies a constant of the step; `scan` takes no parameter that requires a gradient."""
    return nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format), requires_grad=False)


class Product(Protocol):
    """Rows times a constant matrix, plus one addend."""

    def __call__(self, rows: Tensor, addend: Tensor | None = None) -> Tensor:
        """From encoded rows [B, I] to float32 [B, O]; adds `addend` [B, O], or else its own bias."""
        ...


class Numbers(Protocol):
    """The numbers in which products are computed.

    All that is ever multiplied is the output h of a cell, which lies within -1 and 1.
    """

    dtype: str
    """Type of an encoded h."""
    zero: int
    """What encodes 0."""

    def encode(self, h: Tensor) -> Tensor:
        """h, float32 [B, H] within -1 and 1, as products take it."""
        ...

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """The product with weight [I, O], and its bias [O]."""
        ...


class FloatProduct(nn.Module):
    """A product in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = frozen(weight)
        self.bias = None if bias is None else frozen(bias)

    def forward(self, rows: Tensor, addend: Tensor | None = None) -> Tensor:
        """See Product."""
        if addend is None:
            addend = self.bias
        assert addend is not None, "a product without a bias is given an addend"
        return torch.addmm(addend, rows, self.weight)


class Float32:
    """Products in float32: an h is its own encoding."""

    dtype = "float32"
    zero = 0

    def encode(self, h: Tensor) -> Tensor:
        """See Numbers."""
        return h

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """See Numbers."""
        return FloatProduct(weight, bias)


class TokenInput(nn.Module):
    """What the first layer gets of a token: a row of a table."""

    def __init__(self, table: Tensor) -> None:
        """Takes [tokens, O]: embedding, input product and bias in one."""
        super().__init__()
        self.table = frozen(table)

    def forward(self, tokens: Tensor) -> Tensor:
        """From int64 [B] to float32 [B, O]."""
        return F.embedding(tokens, self.table)


class TokenSums(nn.Module):
    """The gate sums of the first layer."""

    def __init__(self, table: TokenInput, hidden: Product) -> None:
        super().__init__()
        self.table = table
        self.hidden = hidden

    def forward(self, tokens: Tensor, h: Tensor) -> Tensor:
        """From tokens [B] and encoded h [B, H] to [B, G*H]."""
        return self.hidden(h, self.table(tokens))


class LayerSums(nn.Module):
    """The gate sums of a layer above another: one product over both of its inputs."""

    def __init__(self, joined: Product) -> None:
        super().__init__()
        self.joined = joined

    def forward(self, below: Tensor, h: Tensor) -> Tensor:
        """From the encoded output below and the encoded h, each [B, H], to [B, G*H]."""
        return self.joined(torch.cat([below, h], 1))


class Layer:
    """The weights of one layer of a trained model, as products take them, G gates side by side."""

    def __init__(self, model: "RecurrentModel", index: int) -> None:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parameters = (getattr(model.recurrent, f"{name}_l{index}").detach() for name in names)
        inputs, hidden, self.input_bias, self.hidden_bias = parameters
        self.input_weight = inputs.T  # [I, G*H]
        self.hidden_weight = hidden.T  # [H, G*H]
        embedding = model.embedding.weight.detach() if model.embedding is not None else None
        self.embedding = embedding if index == 0 else None
        self.first = index == 0

    def table(self, bias: Tensor) -> TokenInput:
        """The table of the first layer: of one-hot tokens, the weight itself."""
        product = self.input_weight if self.embedding is None else self.embedding @ self.input_weight
        return TokenInput(product + bias)

    def sums(self, numbers: Numbers) -> nn.Module:
        """The gate sums, for cells in which those of both inputs just add up."""
        bias = self.input_bias + self.hidden_bias
        if self.first:
            return TokenSums(self.table(bias), numbers.product(self.hidden_weight))
        return LayerSums(numbers.product(torch.cat([self.input_weight, self.hidden_weight]), bias))


class LstmCell(nn.Module):
    """An LSTM cell with a forget gate (Hochreiter and Schmidhuber 1997, Gers et al. 2000).

    Nothing but products sees its h, so the state holds it encoded.
    """

    def __init__(self, layer: Layer, numbers: Numbers) -> None:
        """Gates are ordered i, f, g, o, as in PyTorch."""
        super().__init__()
        self.sums = layer.sums(numbers)
        self.numbers = numbers

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, State]:
        """From the input and the state to the encoded output and the next state, each [B, H]."""
        i, f, g, o = self.sums(x, h).chunk(4, 1)  # each [B, H]
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = self.numbers.encode(torch.sigmoid(o) * torch.tanh(c))
        return h, (h, c)

    @staticmethod
    def state(numbers: Numbers, size: int, layer: int) -> list[StateSpec]:
        """The state tensors of one layer."""
        return [encoded_h(numbers, size, layer), StateSpec(f"c_{layer}", "float32", (size,))]


class GruCell(nn.Module):
    """A gated recurrent unit (Cho et al. 2014), the reset gate after the product, as in cuDNN.

    Its h is also what it remembers, which an encoding of few bits would wear away step by step:
    the state holds it in float32.
    """

    def __init__(self, layer: Layer, numbers: Numbers) -> None:
        """Gates are ordered r, z, n."""
        super().__init__()
        self.numbers = numbers
        first = layer.first
        self.inputs = (
            layer.table(layer.input_bias) if first else numbers.product(layer.input_weight, layer.input_bias)
        )
        # The reset gate scales the recurrent bias, so it stays apart.
        self.hidden = numbers.product(layer.hidden_weight, layer.hidden_bias)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, State]:
        """From the input and the state to the encoded output and the next state, each [B, H]."""
        size = h.shape[1]
        inputs, recurrent = self.inputs(x), self.hidden(self.numbers.encode(h))  # each [B, 3H]
        r, z = torch.sigmoid(inputs[:, : 2 * size] + recurrent[:, : 2 * size]).chunk(2, 1)
        n = torch.tanh(inputs[:, 2 * size :] + r * recurrent[:, 2 * size :])
        h = n + z * (h - n)
        return self.numbers.encode(h), (h,)

    @staticmethod
    def state(numbers: Numbers, size: int, layer: int) -> list[StateSpec]:  # noqa: ARG004
        """The state tensors of one layer."""
        return [StateSpec(f"h_{layer}", "float32", (size,))]


class RnnCell(nn.Module):
    """A plain tanh cell (Elman 1990); the state holds its h encoded, as an LSTM's."""

    def __init__(self, layer: Layer, numbers: Numbers) -> None:
        super().__init__()
        self.sums = layer.sums(numbers)
        self.numbers = numbers

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, State]:
        """From the input and the state to the encoded output and the next state, each [B, H]."""
        h = self.numbers.encode(torch.tanh(self.sums(x, h)))
        return h, (h,)

    @staticmethod
    def state(numbers: Numbers, size: int, layer: int) -> list[StateSpec]:
        """The state tensors of one layer."""
        return [encoded_h(numbers, size, layer)]


CELLS: dict[str, type[LstmCell] | type[GruCell] | type[RnnCell]] = {
    "lstm": LstmCell,
    "gru": GruCell,
    "rnn": RnnCell,
}


def encoded_h(numbers: Numbers, size: int, layer: int) -> StateSpec:
    """Specifies an h that the state holds as products take it."""
    scale = None if numbers.dtype == "float32" else 1 / BYTE_SCALE
    return StateSpec(
        f"h_{layer}", numbers.dtype, (size,), initial=numbers.zero, scale=scale, zero=numbers.zero
    )


def state_specs(config: RecurrentConfig, numbers: Numbers = Float32()) -> list[StateSpec]:
    """Specifies the state tensors of all layers: (h_0, c_0, h_1, ...) of an LSTM, (h_0, h_1, ...) else."""
    cell = CELLS[config.cell]
    return [spec for layer in range(config.layers) for spec in cell.state(numbers, config.cells, layer)]


class RecurrentStep(Step):
    """One step of a whole network: feeds a token to every row and gives scores and next state."""

    specs: list[StateSpec]

    def __init__(self, model: "RecurrentModel", numbers: Numbers = Float32()) -> None:
        """Copies and folds the weights of a trained model; later changes to it do not show."""
        super().__init__()
        config = model.config
        cell = CELLS[config.cell]
        self.cells = nn.ModuleList(cell(Layer(model, index), numbers) for index in range(config.layers))
        self.output = numbers.product(model.output.weight.detach().T, model.output.bias)
        self.specs = state_specs(config, numbers)

    def advance(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """Feeds last, int64 [B]; gives the top layer's encoded output [B, H] and the next state."""
        width = len(self.specs) // len(self.cells)
        x = last
        following: list[Tensor] = []
        for index, cell in enumerate(self.cells):
            x, new = cell(x, *state[index * width : (index + 1) * width])
            following += new
        return x, tuple(following)

    def forward(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """See Step."""
        h, following = self.advance(last, state)
        return self.output(h), following
