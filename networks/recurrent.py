"""The recurrent network: whole chunks through the fused kernels.

It knows nothing of text, losses or optimisers. `training/regularisation.py` is the same network as
it is trained, `networks/step.py` one token at a time.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.errors import require
from networks.kernels import Cell, State, own_dtype, run_layers

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
    cells: int = 0
    """Cells per layer; 0: by the size of the text."""
    embedding: int = 64
    """Size of a token's embedding; 0 feeds tokens one-hot."""

    def __post_init__(self) -> None:
        require(self.cell in get_args(Cell), "cell", f"must be one of {', '.join(get_args(Cell))}")
        require(self.layers >= 1, "layers", "must be at least 1")
        require(self.layers <= MOST_LAYERS, "layers", f"must be at most {MOST_LAYERS}")
        require(self.cells >= 0, "cells", "must be at least 0")
        require(self.cells <= WIDEST, "cells", f"must be at most {WIDEST:,}")
        require(self.embedding >= 0, "embedding", "must be 0 (one-hot) or more")
        require(self.embedding <= WIDEST, "embedding", f"must be at most {WIDEST:,}")


class RecurrentModel(nn.Module):
    """Embedding or one-hot input, stacked recurrent layers, linear output over the vocabulary."""

    def __init__(self, config: ModelConfig, inputs: int, outputs: int) -> None:
        """`inputs` counts the tokens that can be fed, `outputs` (V) those that can be chosen."""
        super().__init__()
        assert config.cells, "what is left open is settled before a model is made"
        self.config = config
        self.inputs = inputs
        self.outputs = outputs
        self.embedding = nn.Embedding(inputs, config.embedding) if config.embedding else None
        self.recurrent = FUSED[config.cell](
            input_size=config.embedding or inputs,
            hidden_size=config.cells,
            num_layers=config.layers,
        )
        self.output = nn.Linear(config.cells, outputs)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads a chunk: int64 tokens [T, B] to logits [T, B, V], and the state after it."""
        y, state = self.recur(self.embed(tokens), state)
        return self.output(y), state

    def embed(self, tokens: Tensor) -> Tensor:
        """What the first layer is fed of tokens [T, B]: [T, B, C]."""
        if self.embedding is not None:
            return self.embedding(tokens)  # type: ignore[no-any-return]
        return F.one_hot(tokens, self.inputs).to(self.output.weight.dtype)

    def recur(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs all layers: [T, B, C] to [T, B, H], and the state after it."""
        if dtype := own_dtype(x.device):
            return run_layers(self.config.cell, x, state, self.recurrent.all_weights, dtype)
        if self.config.cell == "lstm":
            return self.recurrent(x, state)  # type: ignore[no-any-return]
        y, h = self.recurrent(x, state[0])
        return y, (h,)

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
