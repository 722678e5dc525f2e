"""A second network, which lives in tests alone: its state is the last N token ids of a stream.

It has what the recurrent network has not: a state of integers with more than one number per layer, no
embedding of texts, and parameters of other names.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from charloom.burst import StateSpec
from charloom.errors import require
from networks.config import DropoutRates, NetworkConfig
from networks.dropout import NO_DROPOUT, Dropout, drop_units
from networks.language_model import LanguageModel, State, Step, VocabularyAxis
from networks.registry import Network, NetworkRegistry


@dataclass(frozen=True)
class WindowConfig(NetworkConfig):
    """Size of the network."""

    kind: ClassVar[str] = "window"
    version: ClassVar[int] = 2
    size_options: ClassVar[tuple[str, ...]] = ("width",)

    window: int = 6
    """Number of tokens that it sees, N."""
    width: int = 0
    """Size W of a token's vector; 0: by the size of the text."""

    def __post_init__(self) -> None:
        require(self.window >= 1, "window", "must be at least 1")
        require(self.width >= 0, "width", "must be at least 0")

    @property
    def description(self) -> str:
        return f"window of {self.window} tokens, width {self.width}"

    def sized(self, characters: int) -> Self:
        return self if self.width else replace(self, width=8 if characters < 100_000 else 16)

    def suited_dropout(self, strength: float) -> DropoutRates:
        return DropoutRates(input_dropout=round(0.1 * strength, 2))


class WindowModel(LanguageModel):
    """Vectors of the last N tokens side by side, one hidden layer, linear output."""

    config: WindowConfig

    def __init__(self, config: NetworkConfig, inputs: int, outputs: int) -> None:
        super().__init__(config, inputs, outputs)
        assert isinstance(config, WindowConfig)
        self.vectors = nn.Embedding(inputs, config.width)
        self.hidden = nn.Linear(config.window * config.width, 2 * config.width)
        self.scores = nn.Linear(2 * config.width, outputs)

    def forward(self, tokens: Tensor, state: State, dropout: Dropout = NO_DROPOUT) -> tuple[Tensor, State]:
        (window,) = state  # [B, N]
        read = torch.cat([window.T, tokens])  # [N + T, B]
        windows = read.unfold(0, self.config.window, 1)[1:]  # [T, B, N]
        x = drop_units(self.vectors(windows).flatten(2), dropout.rates.input_dropout)  # [T, B, N*W]
        y = drop_units(torch.tanh(self.hidden(x)), dropout.rates.output_dropout)
        return self.scores(y), (windows[-1],)

    def step(self) -> "WindowStep":
        return WindowStep(self)

    @property
    def state_specs(self) -> Sequence[StateSpec]:
        return [StateSpec("latest", "int64", (self.config.window,), limit=self.inputs)]

    @property
    def vocabulary_axes(self) -> Mapping[str, VocabularyAxis]:
        return {
            "vectors.weight": VocabularyAxis(0, "inputs"),
            "scores.weight": VocabularyAxis(0, "outputs"),
            "scores.bias": VocabularyAxis(0, "outputs"),
        }

    @property
    def step_products(self) -> Sequence[tuple[int, int]]:
        return [(self.hidden.in_features, self.hidden.out_features), (self.scores.in_features, self.outputs)]


class WindowStep(Step):
    """The same network one token at a time."""

    def __init__(self, model: WindowModel) -> None:
        super().__init__()
        self.specs = model.state_specs
        self.vectors = deepcopy(model.vectors).requires_grad_(False)  # [inputs, W]
        self.hidden = deepcopy(model.hidden).requires_grad_(False)  # [2W, N*W]
        self.scores = deepcopy(model.scores).requires_grad_(False)  # [V, 2W]

    def forward(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        window = torch.cat([state[0][:, 1:], last[:, None]], 1)  # [B, N]
        x = self.vectors(window).flatten(1)  # [B, N*W]
        return self.scores(torch.tanh(self.hidden(x))), (window,)


WINDOWS = NetworkRegistry([Network(WindowConfig, WindowModel)])
"""A registry of this network alone."""
