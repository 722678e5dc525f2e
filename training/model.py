"""The recurrent network, as it is trained: whole chunks through the fused kernels.

It knows nothing of text, losses or optimisers; `training/step.py` is the same network one token
at a time.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.errors import require

Cell = Literal["lstm", "gru", "rnn"]
State = tuple[Tensor, ...]
"""(h, c) of an LSTM, (h,) of the other cells; each [L, B, H]."""

MOST_LAYERS = 64
WIDEST = 65_536
"""Most cells of a layer, and the largest embedding."""

FUSED: dict[Cell, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
}


@dataclass(frozen=True)
class ModelConfig:
    """Size and kind of the network."""

    cell: Cell = "lstm"
    """Kind of recurrent cell: lstm, gru, or rnn (tanh)."""
    layers: int = 2
    """Number of recurrent layers."""
    cells: int = 256
    """Cells per layer."""
    embedding: int = 64
    """Size of a token's embedding; 0 feeds tokens one-hot."""
    dropout: float = 0.2
    """Share of activations dropped between layers while training, in [0, 1)."""

    def __post_init__(self) -> None:
        require(self.cell in get_args(Cell), "cell", f"must be one of {', '.join(get_args(Cell))}")
        require(self.layers >= 1, "layers", "must be at least 1")
        require(self.layers <= MOST_LAYERS, "layers", f"must be at most {MOST_LAYERS}")
        require(self.cells >= 1, "cells", "must be at least 1")
        require(self.cells <= WIDEST, "cells", f"must be at most {WIDEST:,}")
        require(self.embedding >= 0, "embedding", "must be 0 (one-hot) or more")
        require(self.embedding <= WIDEST, "embedding", f"must be at most {WIDEST:,}")
        require(0 <= self.dropout < 1, "dropout", "must be at least 0 and below 1")


class RecurrentModel(nn.Module):
    """Embedding or one-hot input, stacked recurrent layers, linear output over the vocabulary."""

    def __init__(self, config: ModelConfig, inputs: int, outputs: int) -> None:
        """`inputs` counts the tokens that can be fed, `outputs` (V) those that can be chosen."""
        super().__init__()
        self.config = config
        self.inputs = inputs
        self.outputs = outputs
        self.embedding = nn.Embedding(inputs, config.embedding) if config.embedding else None
        self.recurrent = FUSED[config.cell](
            input_size=config.embedding or inputs,
            hidden_size=config.cells,
            num_layers=config.layers,
            # nn.LSTM warns when it is told to drop between the layers of one layer.
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.cells, outputs)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads a chunk: int64 tokens [T, B] to logits [T, B, V], and the state after it."""
        if self.embedding is not None:
            x = self.dropout(self.embedding(tokens))  # [T, B, E]
        else:
            x = F.one_hot(tokens, self.inputs).to(self.output.weight.dtype)  # [T, B, inputs]
        if self.config.cell == "lstm":
            y, state = self.recurrent(x, state)  # [T, B, H]
        else:
            y, h = self.recurrent(x, state[0])
            state = (h,)
        return self.output(self.dropout(y)), state

    def initial_state(self, batch: int) -> State:
        """The zero state of `batch` fresh streams, on the model's device."""
        weight = self.output.weight
        zeros = weight.new_zeros(self.config.layers, batch, self.config.cells)
        return (zeros, zeros.clone()) if self.config.cell == "lstm" else (zeros,)

    @classmethod
    def size(cls, config: ModelConfig, inputs: int, outputs: int) -> int:
        """Number of trained numbers of a model that is not made."""
        with torch.device("meta"):
            return cls(config, inputs, outputs).parameter_count()

    def parameter_count(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.parameters())
