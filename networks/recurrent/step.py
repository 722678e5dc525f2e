"""The recurrent network one token at a time, as explicit arithmetic in float32.

Previews run it, and `export/recurrent.py` builds the same arithmetic as ONNX, from the weights as they are
folded here: embedding, first input product and bias become one table of a row per token, which is looked up
and not multiplied. Of a large vocabulary that table would be many times as large as the model, and stays
an embedding and a product.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.burst import StateSpec
from networks.language_model import State, Step
from networks.recurrent.config import RecurrentConfig

if TYPE_CHECKING:
    from networks.recurrent.model import RecurrentModel


TABLE = 2**23
"""Numbers of the table of a first layer at the most, unless its inputs are one-hot, which need one."""


def frozen(value: Tensor) -> nn.Parameter:
    """Copies a weight of the step."""
    return nn.Parameter(value.detach().clone().contiguous(), requires_grad=False)


class Layer:
    """The weights of one layer of a trained model, G gates side by side."""

    def __init__(self, model: "RecurrentModel", index: int) -> None:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parameters = (getattr(model.recurrent, f"{name}_l{index}").detach() for name in names)
        inputs, hidden, self.input_bias, self.hidden_bias = parameters
        self.input_weight = inputs.T  # [I, G*H]
        self.hidden_weight = hidden.T  # [H, G*H]
        self.embedding = model.embedding.weight.detach() if model.embedding is not None else None
        self.first = index == 0


class TokenSums(nn.Module):
    """What the gates of the first layer get of each token: looked up in a table, or in an embedding."""

    def __init__(self, layer: Layer, bias: Tensor) -> None:
        super().__init__()
        embedding, weight = layer.embedding, layer.input_weight  # [V + 1, C], [C, G*H]
        if embedding is not None and len(embedding) * weight.shape[1] > TABLE:
            self.table = None
            self.embedding, self.weight, self.bias = frozen(embedding), frozen(weight), frozen(bias)
        else:
            product = weight if embedding is None else embedding @ weight
            self.table = frozen(product + bias)  # [V + 1, G*H]

    def forward(self, x: Tensor) -> Tensor:
        """From tokens [B] to [B, G*H]."""
        if self.table is not None:
            return F.embedding(x, self.table)
        return torch.addmm(self.bias, F.embedding(x, self.embedding), self.weight)


class GateSums(nn.Module):
    """The gate sums of cells in which those of both inputs just add up."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        bias = layer.input_bias + layer.hidden_bias
        self.tokens = TokenSums(layer, bias) if layer.first else None
        joined = torch.cat([layer.input_weight, layer.hidden_weight])
        self.weight = frozen(layer.hidden_weight if layer.first else joined)
        self.bias = None if layer.first else frozen(bias)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """From tokens [B], or the output below [B, H], and h [B, H] to [B, G*H]."""
        if self.tokens is not None:
            return torch.addmm(self.tokens(x), h, self.weight)
        assert self.bias is not None, "only the first layer gets tokens"
        return torch.addmm(self.bias, torch.cat([x, h], 1), self.weight)


class LstmCell(nn.Module):
    """An LSTM cell with a forget gate (Hochreiter and Schmidhuber 1997, Gers et al. 2000)."""

    def __init__(self, layer: Layer) -> None:
        """Gates are ordered i, f, g, o, as in PyTorch."""
        super().__init__()
        self.sums = GateSums(layer)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> State:
        """From the input and the state to the next state, each [B, H]; its first tensor is the output."""
        i, f, g, o = self.sums(x, h).chunk(4, 1)  # each [B, H]
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class GruCell(nn.Module):
    """A gated recurrent unit (Cho et al. 2014), the reset gate after the product, as in cuDNN."""

    def __init__(self, layer: Layer) -> None:
        """Gates are ordered r, z, n."""
        super().__init__()
        self.tokens = TokenSums(layer, layer.input_bias) if layer.first else None
        self.input_weight = None if layer.first else frozen(layer.input_weight)
        self.input_bias = None if layer.first else frozen(layer.input_bias)
        # The reset gate scales the recurrent bias, so it stays apart.
        self.hidden_weight, self.hidden_bias = frozen(layer.hidden_weight), frozen(layer.hidden_bias)

    def forward(self, x: Tensor, h: Tensor) -> State:
        """From the input and the state to the next state [B, H], which is the output too."""
        size = h.shape[1]
        recurrent = torch.addmm(self.hidden_bias, h, self.hidden_weight)  # [B, 3H]
        inputs = self.inputs(x)
        r, z = torch.sigmoid(inputs[:, : 2 * size] + recurrent[:, : 2 * size]).chunk(2, 1)
        n = torch.tanh(inputs[:, 2 * size :] + r * recurrent[:, 2 * size :])
        return (n + z * (h - n),)

    def inputs(self, x: Tensor) -> Tensor:
        """From tokens [B], or the output below [B, H], to [B, 3H]."""
        if self.tokens is not None:
            return self.tokens(x)  # type: ignore[no-any-return]
        assert self.input_weight is not None, "only the first layer gets tokens"
        assert self.input_bias is not None, "and the others a weight and a bias"
        return torch.addmm(self.input_bias, x, self.input_weight)


class RnnCell(nn.Module):
    """A plain tanh cell (Elman 1990)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.sums = GateSums(layer)

    def forward(self, x: Tensor, h: Tensor) -> State:
        """From the input and the state to the next state [B, H], which is the output too."""
        return (torch.tanh(self.sums(x, h)),)


CELLS: dict[str, type[LstmCell] | type[GruCell] | type[RnnCell]] = {
    "lstm": LstmCell,
    "gru": GruCell,
    "rnn": RnnCell,
}


def state_specs(config: RecurrentConfig) -> list[StateSpec]:
    """Specifies the state tensors of all layers: (h_0, c_0, h_1, ...) of an LSTM, (h_0, h_1, ...) else."""
    kinds = ("h", "c") if config.cell == "lstm" else ("h",)
    return [
        StateSpec(f"{kind}_{layer}", "float32", (config.cells,))
        for layer in range(config.layers)
        for kind in kinds
    ]


class RecurrentStep(Step):
    """One step of a whole network: feeds a token to every row and gives scores and next state."""

    def __init__(self, model: "RecurrentModel") -> None:
        """Copies and folds the weights of a trained model; later changes to it do not show."""
        super().__init__()
        config = model.config
        make = CELLS[config.cell]
        self.cells = nn.ModuleList(make(Layer(model, index)) for index in range(config.layers))
        self.output_weight = frozen(model.output.weight.T)  # [H, V]
        self.output_bias = frozen(model.output.bias)
        self.specs = state_specs(config)

    def forward(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """See Step."""
        width = len(self.specs) // len(self.cells)
        x = last
        following: list[Tensor] = []
        for index, cell in enumerate(self.cells):
            new = cell(x, *state[index * width : (index + 1) * width])
            following += new
            x = new[0]
        return torch.addmm(self.output_bias, x, self.output_weight), tuple(following)
