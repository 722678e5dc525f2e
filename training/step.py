"""The recurrent network one token at a time, as explicit arithmetic.

The one definition of the cells outside the fused kernels: previews while training and the
exported burst graph both run it. It knows nothing of sampling (`training/sampler.py`).

Whatever depends on constants alone is computed beforehand: embedding, first input product and
bias become one table of V rows, which is looked up and not multiplied.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.model import RecurrentModel

RowState = tuple[Tensor, ...]
"""One tensor [B, H] per layer and kind: (h_0, c_0, h_1, c_1, ...) of an LSTM, (h_0, h_1, ...) else."""


Folded = tuple[nn.Module, Tensor, Tensor]
"""A layer made ready: its cell, its input weight [G*H, I], and the bias [G*H] of its input."""


def frozen(value: Tensor) -> nn.Parameter:
    """A constant of the step; `scan` takes no parameter that requires a gradient."""
    return nn.Parameter(value.detach().contiguous(), requires_grad=False)


class LstmCell(nn.Module):
    """An LSTM cell with a forget gate (Hochreiter and Schmidhuber 1997, Gers et al. 2000)."""

    kinds = ("h", "c")

    def __init__(self, hidden_weight: Tensor) -> None:
        """Takes the recurrent weight [4H, H], gates ordered i, f, o, g."""
        super().__init__()
        self.weight = frozen(hidden_weight.T)  # [H, 4H]

    @classmethod
    def fold(cls, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Folded:
        """From PyTorch's parameters, whose gates are ordered i, f, g, o.

        With the three sigmoid gates side by side, one call makes them all.
        """

        def reorder(rows: Tensor) -> Tensor:
            i, f, g, o = rows.chunk(4)
            return torch.cat([i, f, o, g])

        return cls(reorder(weight_hh)), reorder(weight_ih), reorder(bias_ih + bias_hh)

    def forward(self, sums: Tensor, h: Tensor, c: Tensor) -> RowState:
        """From the input's gate sums [B, 4H] and the state to the next state, each [B, H]."""
        size = h.shape[1]
        sums = torch.addmm(sums, h, self.weight)  # [B, 4H]
        i, f, o = torch.sigmoid(sums[:, : 3 * size]).chunk(3, 1)
        candidate = sums[:, 3 * size :]
        c = f * c + i * torch.tanh(candidate)
        return o * torch.tanh(c), c


class GruCell(nn.Module):
    """A gated recurrent unit (Cho et al. 2014), the reset gate after the product, as in cuDNN."""

    kinds = ("h",)

    def __init__(self, hidden_weight: Tensor, hidden_bias: Tensor) -> None:
        """Takes the recurrent weight [3H, H] and bias [3H], gates ordered r, z, n."""
        super().__init__()
        self.weight = frozen(hidden_weight.T)  # [H, 3H]
        self.bias = frozen(hidden_bias)

    @classmethod
    def fold(cls, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Folded:
        """From PyTorch's parameters. The reset gate scales the recurrent bias, so it stays apart."""
        return cls(weight_hh, bias_hh), weight_ih, bias_ih

    def forward(self, sums: Tensor, h: Tensor) -> RowState:
        """From the input's gate sums [B, 3H] and the state to the next state, each [B, H]."""
        size = h.shape[1]
        recurrent = torch.addmm(self.bias, h, self.weight)  # [B, 3H]
        r, z = torch.sigmoid(sums[:, : 2 * size] + recurrent[:, : 2 * size]).chunk(2, 1)
        n = torch.tanh(sums[:, 2 * size :] + r * recurrent[:, 2 * size :])
        return (n + z * (h - n),)


class RnnCell(nn.Module):
    """A plain tanh cell (Elman 1990)."""

    kinds = ("h",)

    def __init__(self, hidden_weight: Tensor) -> None:
        """Takes the recurrent weight [H, H]."""
        super().__init__()
        self.weight = frozen(hidden_weight.T)

    @classmethod
    def fold(cls, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Folded:
        """From PyTorch's parameters."""
        return cls(weight_hh), weight_ih, bias_ih + bias_hh

    def forward(self, sums: Tensor, h: Tensor) -> RowState:
        """From the input's sums [B, H] and the state to the next state, each [B, H]."""
        return (torch.tanh(torch.addmm(sums, h, self.weight)),)


CELLS: dict[str, type[LstmCell] | type[GruCell] | type[RnnCell]] = {
    "lstm": LstmCell,
    "gru": GruCell,
    "rnn": RnnCell,
}


class Step(nn.Module):
    """One step of a whole network: feeds a token to every row and gives scores and next state."""

    def __init__(self, model: RecurrentModel) -> None:
        """Copies and folds the weights of a trained model; later changes to it do not show."""
        super().__init__()
        config = model.config
        self.cells = nn.ModuleList()
        self.inputs = nn.ParameterList()  # per layer above the first [H, G*H]
        self.biases = nn.ParameterList()
        for layer in range(config.layers):
            cell, weight, offset = fold_layer(model, layer)
            self.cells.append(cell)
            if layer == 0:
                embedding = model.embedding.weight if model.embedding is not None else torch.eye(model.inputs)
                self.table = frozen(F.linear(embedding.to(weight), weight, offset))  # [inputs, G*H]
            else:
                self.inputs.append(frozen(weight.T))
                self.biases.append(frozen(offset))
        self.output_weight = frozen(model.output.weight.T)  # [H, V]
        self.output_bias = frozen(model.output.bias)
        self.kinds = CELLS[config.cell].kinds
        self.size = config.cells

    @property
    def state_names(self) -> list[str]:
        """Names of the state tensors in order: h_0, c_0, h_1, ..."""
        return [f"{kind}_{layer}" for layer in range(len(self.cells)) for kind in self.kinds]

    def initial_state(self, rows: int) -> RowState:
        """The zero state of `rows` fresh streams."""
        return tuple(self.table.new_zeros(rows, self.size) for _ in self.state_names)

    def forward(self, last: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """Feeds last, int64 [B]; gives scores [B, V] and the next state."""
        width = len(self.kinds)
        sums = self.table[last]  # [B, G*H]
        following: list[Tensor] = []
        for layer, cell in enumerate(self.cells):
            if layer > 0:
                sums = torch.addmm(self.biases[layer - 1], following[-width], self.inputs[layer - 1])
            following += cell(sums, *state[layer * width : (layer + 1) * width])
        return torch.addmm(self.output_bias, following[-width], self.output_weight), tuple(following)


def fold_layer(model: RecurrentModel, layer: int) -> Folded:
    """Makes one layer of a trained model ready."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    parameters = (getattr(model.recurrent, f"{name}_l{layer}").detach() for name in names)
    return CELLS[model.config.cell].fold(*parameters)
