"""The interface of every network: whole chunks for training, and a copy that runs step by step.

A new kind of network implements `LanguageModel` and a `Step` in one file here, is one line in
`networks/registry.py`, and has a builder of its step as ONNX in `export/`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from charloom.burst import StateSpec
from networks.config import NetworkConfig
from networks.dropout import NO_DROPOUT, Dropout

State = tuple[Tensor, ...]
"""The tensors of a batch's state, one for each StateSpec in its order, each [B, ...]."""


class VocabularyAxis(NamedTuple):
    """An axis of a parameter that has one entry per token."""

    axis: int
    tokens: Literal["inputs", "outputs"]
    """Whether it counts the tokens that can be fed or those that can be chosen."""


def initial_state(specs: Sequence[StateSpec], batch: int, device: torch.device) -> State:
    """Makes the state of `batch` streams before their first token."""
    # Filled on the device: a copy from the host would make training wait for a GPU.
    return tuple(
        torch.full((batch, *spec.shape), spec.initial, dtype=dtype_of(spec), device=device) for spec in specs
    )


def dtype_of(spec: StateSpec) -> torch.dtype:
    """Returns the type of a state tensor as PyTorch has it."""
    dtype = getattr(torch, spec.dtype)
    assert isinstance(dtype, torch.dtype), "numpy and PyTorch name types alike"
    return dtype


class Step(nn.Module, ABC):
    """A network that reads one token per call, in float32, with weights that no longer change.

    It is the reference for previews and for exported graphs.
    """

    specs: Sequence[StateSpec]
    """The state tensors, in the order in which calls take and return them."""

    @abstractmethod
    def forward(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """Feeds int64 tokens [B]; returns scores [B, V] and the next state."""

    def initial_state(self, batch: int) -> State:
        """Makes the state of `batch` streams before their first token, on the step's device."""
        return initial_state(self.specs, batch, next(self.parameters()).device)


class LanguageModel(nn.Module, ABC):
    """A trainable network over a vocabulary."""

    def __init__(self, config: NetworkConfig, inputs: int, outputs: int) -> None:
        """Makes a network with random weights.

        Args:
            config: kind and size, with no size left open.
            inputs: number of tokens that can be fed.
            outputs: number of tokens that can be chosen, V.
        """
        super().__init__()
        self.config = config
        self.inputs = inputs
        self.outputs = outputs

    @abstractmethod
    def forward(self, tokens: Tensor, state: State, dropout: Dropout = NO_DROPOUT) -> tuple[Tensor, State]:
        """Reads a chunk: int64 tokens [T, B] to logits [T, B, V] and the state after it.

        Args:
            tokens: the tokens to feed.
            state: the state before the first of them.
            dropout: what to drop; each call drops other parts, the same for all its T steps.
        """

    @abstractmethod
    def step(self) -> Step:
        """Copies the network into one that reads token by token; later training does not change it."""

    @property
    @abstractmethod
    def state_specs(self) -> Sequence[StateSpec]:
        """The state tensors of `forward` and of `step` in float32 arithmetic, in their order.

        None has the name of an input of the burst contract (`charloom/burst.py`).
        """

    @property
    def embedding_state(self) -> Sequence[str]:
        """Names of the state tensors that joined make a text's embedding; none if it has no embedding."""
        return ()

    @property
    @abstractmethod
    def vocabulary_axes(self) -> Mapping[str, VocabularyAxis]:
        """By name, the parameters of which single entries belong to single tokens.

        `--init-from` copies them token by token between vocabularies, and all other parameters whole. One of
        outputs that has no other axis is the bias of the scores.
        """

    @property
    def hidden_matrices(self) -> Mapping[str, int]:
        """By name, the parameters [N*R, C] that multiply what is hidden within the network, with N.

        N products are stacked in each, as those of a cell's gates are. Muon trains these.
        """
        return {}

    @property
    @abstractmethod
    def step_products(self) -> Sequence[tuple[int, int]]:
        """Shapes [I, O] of the weights that a step multiplies a row with: what bounds its speed."""

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return next(self.parameters()).device

    def initial_state(self, batch: int) -> State:
        """Makes the state of `batch` streams before their first token, on the network's device."""
        return initial_state(self.state_specs, batch, self.device)

    def detached(self, state: State) -> State:
        """Cuts a state that `forward` returned from its graph and gives it the types of `state_specs`.

        Under autocast a network returns parts of its state in the precision of the products.
        """
        pairs = zip(state, self.state_specs, strict=True)
        return tuple(part.detach().to(dtype_of(spec)) for part, spec in pairs)

    def parameter_count(self) -> int:
        """Counts the trained numbers."""
        return sum(parameter.numel() for parameter in self.parameters())
