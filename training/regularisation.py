"""Regularisation: what of a network is dropped while it is trained.

What is evaluated, sampled from and exported never meets this file.
"""

from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor, nn

from charloom.errors import require
from networks.config import DropoutRates
from networks.dropout import Dropout
from networks.language_model import LanguageModel, State


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

    @property
    def rates(self) -> DropoutRates:
        """The rates as a network takes them."""
        return DropoutRates(**{name: rate or 0.0 for name, rate in asdict(self).items()})


class RegularisedModel(nn.Module):
    """A model in training: each call drops other parts of it, and is one step of the optimiser.

    It is a module of its own so that `DistributedDataParallel` can wrap it.
    """

    def __init__(
        self, model: LanguageModel, config: RegularisationConfig, shared: torch.Generator | None = None
    ) -> None:
        """Shares the weights of the model; masks that all lanes have in common are drawn from `shared`."""
        super().__init__()
        self.model = model
        self.dropout = Dropout(config.rates, shared)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads a chunk: int64 tokens [T, B] to logits [T, B, V], and the state after it."""
        return self.model(tokens, state, self.dropout)  # type: ignore[no-any-return]
