"""Regularisation: what of a network is dropped while it is trained.

What is evaluated, sampled from and exported never meets this file.
"""

import torch
from torch import Tensor, nn

from networks.dropout import Dropout
from networks.language_model import LanguageModel, State
from training.config import RegularisationConfig


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
