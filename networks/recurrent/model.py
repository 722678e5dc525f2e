"""The recurrent network in its training form: whole chunks through PyTorch's fused kernels."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charloom.burst import StateSpec
from networks.config import NetworkConfig
from networks.dropout import NO_DROPOUT, Dropout, drop_tokens, drop_units, drop_weights
from networks.language_model import LanguageModel, State, VocabularyAxis
from networks.recurrent.config import Cell, RecurrentConfig
from networks.recurrent.kernels import LayerState, own_dtype, run_layers
from networks.recurrent.step import RecurrentStep, state_specs

FUSED: dict[Cell, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
}


class RecurrentModel(LanguageModel):
    """Embedding or one-hot input, stacked recurrent layers, linear output over the vocabulary."""

    config: RecurrentConfig

    def __init__(self, config: NetworkConfig, inputs: int, outputs: int) -> None:
        """See LanguageModel."""
        super().__init__(config, inputs, outputs)
        assert isinstance(config, RecurrentConfig), "the registry pairs configuration and model"
        assert config.cells, "what is left open is settled before a model is made"
        self.embedding = nn.Embedding(inputs, config.embedding) if config.embedding else None
        self.recurrent = FUSED[config.cell](
            input_size=config.embedding or inputs,
            hidden_size=config.cells,
            num_layers=config.layers,
        )
        self.output = nn.Linear(config.cells, outputs)

    def forward(self, tokens: Tensor, state: State, dropout: Dropout = NO_DROPOUT) -> tuple[Tensor, State]:
        """See LanguageModel."""
        rates = dropout.rates
        x = drop_tokens(self.embed(tokens), tokens, self.inputs, rates.token_dropout, dropout.shared)
        y, after = self.recur(drop_units(x, rates.input_dropout), self.stacked(state), dropout)
        return self.output(drop_units(y, rates.output_dropout)), self.unstacked(after)

    def embed(self, tokens: Tensor) -> Tensor:
        """Looks up what the first layer is fed of tokens [T, B]: [T, B, C]."""
        if self.embedding is not None:
            return self.embedding(tokens)  # type: ignore[no-any-return]
        return F.one_hot(tokens, self.inputs).to(self.output.weight.dtype)

    def recur(self, x: Tensor, state: LayerState, dropout: Dropout) -> tuple[Tensor, LayerState]:
        """Runs all layers: [T, B, C] to [T, B, H], and the state [L, B, H] after it."""
        between = dropout.rates.dropout if self.config.layers > 1 else 0.0
        if not between and not dropout.rates.weight_dropout:
            return self.recur_at_once(x, state)
        after: list[LayerState] = []
        for layer in range(self.config.layers):
            if layer:
                x = drop_units(x, between)
            x, end = self.recur_layer(layer, x, tuple(part[layer : layer + 1] for part in state), dropout)
            after.append(end)
        return x, tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    def recur_at_once(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Runs all layers in one call of the kernel, as nothing between them is dropped."""
        if dtype := own_dtype(x.device):
            return run_layers(self.config.cell, x, state, self.recurrent.all_weights, dtype)
        if self.config.cell == "lstm":
            return self.recurrent(x, state)  # type: ignore[no-any-return]
        y, h = self.recurrent(x, state[0])
        return y, (h,)

    def recur_layer(
        self, layer: int, x: Tensor, state: LayerState, dropout: Dropout
    ) -> tuple[Tensor, LayerState]:
        """Runs one layer: [T, B, C] to [T, B, H], and its state [1, B, H] after it."""
        inputs, weight, *biases = self.recurrent.all_weights[layer]
        recurrent = drop_weights(weight, dropout.rates.weight_dropout, dropout.shared)
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Autocast keeps what it made of a parameter; this it would cast anew at every token.
            recurrent = recurrent.to(torch.get_autocast_dtype("cpu"))
        weights = [[inputs, recurrent, *biases]]
        return run_layers(self.config.cell, x, state, weights, own_dtype(x.device))

    def stacked(self, state: State) -> LayerState:
        """Joins the states of all layers as the kernels take them: (h_0, c_0, h_1, ...) to [L, B, H] each."""
        kinds = len(state) // self.config.layers
        return tuple(torch.stack(state[kind::kinds]) for kind in range(kinds))

    def unstacked(self, state: LayerState) -> State:
        """The inverse of `stacked`."""
        return tuple(part[layer] for layer in range(self.config.layers) for part in state)

    def step(self) -> RecurrentStep:
        """See LanguageModel."""
        return RecurrentStep(self)

    @property
    def state_specs(self) -> Sequence[StateSpec]:
        """See LanguageModel."""
        return state_specs(self.config)

    @property
    def embedding_state(self) -> Sequence[str]:
        """The outputs h of all layers."""
        return [f"h_{layer}" for layer in range(self.config.layers)]

    @property
    def vocabulary_axes(self) -> Mapping[str, VocabularyAxis]:
        """See LanguageModel."""
        fed = "recurrent.weight_ih_l0" if self.embedding is None else "embedding.weight"
        return {
            fed: VocabularyAxis(1 if self.embedding is None else 0, "inputs"),
            "output.weight": VocabularyAxis(0, "outputs"),
            "output.bias": VocabularyAxis(0, "outputs"),
        }

    @property
    def hidden_matrices(self) -> Mapping[str, int]:
        """The weights of the gates, but for those that one-hot tokens are fed to."""
        gates = {
            f"recurrent.{name}": weight.shape[0] // self.config.cells
            for name, weight in self.recurrent.named_parameters()
            if weight.dim() > 1
        }
        return {name: count for name, count in gates.items() if name not in self.vocabulary_axes}

    @property
    def step_products(self) -> Sequence[tuple[int, int]]:
        """See LanguageModel; the first layer looks up what comes of its input."""
        _, hidden, *_ = self.recurrent.all_weights[0]  # hidden: [G*H, H]
        gates = hidden.shape[0]
        cells, above = self.config.cells, self.config.layers - 1
        return [(cells, gates), *[(2 * cells, gates)] * above, (cells, self.outputs)]
