"""Regularisation: the network with parts of it dropped, as training runs it.

The network itself drops nothing: what is evaluated, sampled from and exported never meets this
file. The methods are those of the AWD-LSTM (Merity et al. 2017, https://arxiv.org/abs/1708.02182).
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from charloom.errors import require
from networks.kernels import State, own_dtype, run_layers
from networks.recurrent import RecurrentModel
from training.masks import drop_tokens, drop_units, drop_weights


@dataclass(frozen=True)
class RegularisationConfig:
    """What to drop while training, so that the model cannot learn the text by heart.

    A rate that is left open counts as 0 until `training/defaults.py` settles it.
    """

    dropout: float | None = None
    """Share of each layer's outputs dropped on the way to the next layer. Given alone, it holds for
    what goes into the first layer and comes out of the last one too, and nothing else is dropped;
    left open: by the size of the text and of the model, as are the four others."""
    input_dropout: float | None = None
    """Share of the first layer's inputs dropped."""
    output_dropout: float | None = None
    """Share of the last layer's outputs dropped."""
    token_dropout: float | None = None
    """Share of the different characters that are not seen at all in a step."""
    weight_dropout: float | None = None
    """Share of the weights dropped that lead from a layer's state to its next one."""

    def __post_init__(self) -> None:
        for option in fields(self):
            rate = getattr(self, option.name)
            require(
                rate is None or 0 <= rate < 1,
                option.name.replace("_", "-"),
                "must be at least 0 and below 1",
            )


class RegularisedModel(nn.Module):
    """A model in training: each call drops other parts of it, and is one step of the optimiser."""

    def __init__(
        self, model: RecurrentModel, config: RegularisationConfig, shared: torch.Generator | None = None
    ) -> None:
        """Shares the weights of the model; draws from `shared` what all lanes have in common."""
        super().__init__()
        self.shared = shared
        self.model = model
        self.config = config

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads a chunk: int64 tokens [T, B] to logits [T, B, V], and the state after it."""
        model, config = self.model, self.config
        x = drop_tokens(model.embed(tokens), tokens, model.inputs, config.token_dropout or 0, self.shared)
        y, state = self.recur(drop_units(x, config.input_dropout or 0), state)
        return model.output(drop_units(y, config.output_dropout or 0)), state

    def recur(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs all layers: [T, B, C] to [T, B, H], and the state after it."""
        model, config = self.model, self.config
        between = config.dropout or 0 if model.config.layers > 1 else 0
        if not between and not config.weight_dropout:
            return model.recur(x, state)
        after: list[State] = []
        for layer in range(model.config.layers):
            if layer:
                x = drop_units(x, between)
            x, state_after = self.run(layer, x, tuple(part[layer : layer + 1] for part in state))
            after.append(state_after)
        return x, tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    def run(self, layer: int, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs one layer: [T, B, C] to [T, B, H], and its state [1, B, H] after it."""
        inputs, weight, *biases = self.model.recurrent.all_weights[layer]
        recurrent = drop_weights(weight, self.config.weight_dropout or 0, self.shared)
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Autocast keeps what it made of a parameter; this it would cast anew at every character.
            recurrent = recurrent.to(torch.get_autocast_dtype("cpu"))
        weights = [[inputs, recurrent, *biases]]
        return run_layers(self.model.config.cell, x, state, weights, own_dtype(x.device))
