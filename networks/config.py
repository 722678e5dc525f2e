"""The configuration of a network: kind and size, as options, checkpoints and bundles state them.

Every kind of network subclasses `NetworkConfig` with a frozen dataclass whose fields are options of
`charloom train`. Nothing here needs torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class DropoutRates:
    """Shares of a network that are dropped while it is trained, each at least 0 and below 1.

    They are the rates of the AWD-LSTM (Merity et al. 2017, https://arxiv.org/abs/1708.02182). A network
    ignores those for which it has nothing to drop.
    """

    dropout: float = 0.0
    """Units between two layers."""
    input_dropout: float = 0.0
    """Units of the input of the first layer."""
    output_dropout: float = 0.0
    """Units of the output of the last layer."""
    token_dropout: float = 0.0
    """Tokens of the vocabulary."""
    weight_dropout: float = 0.0
    """Weights from a layer's state to its next state."""


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """Kind and size of a network; every field has a default and a value that JSON can hold."""

    kind: ClassVar[str]
    """Name of the network in the registry, in checkpoints, in bundles and on the wire."""
    version: ClassVar[int]
    """Version of the fields; it grows when a reader of the former version would misread them."""
    size_options: ClassVar[tuple[str, ...]]
    """Fields whose values make the network larger, the most effective first."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Values of fields by the name of a preset of `charloom train`."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The network in a few words, such as `LSTM, 2 x 512 cells`."""

    @abstractmethod
    def sized(self, characters: int) -> Self:
        """Returns this configuration with open sizes chosen for a training text of so many characters.

        A configuration without open sizes is returned as it is.
        """

    @abstractmethod
    def suited_dropout(self, strength: float) -> DropoutRates:
        """Returns the dropout that suits the network.

        Args:
            strength: how strongly it overfits the text, from 0 (not at all) to 1.
        """

    def uniform_dropout(self, rate: float) -> DropoutRates:
        """Returns the rates where only `--dropout` is given: this one for all units, 0 for all else."""
        return DropoutRates(rate, rate, rate)

    def smaller_hint(self) -> str:
        """Returns which option makes the network smaller, for advice against overfitting."""
        name = self.size_options[0]
        return f"fewer --{name} than {getattr(self, name)}"

    def larger_hint(self) -> str:
        """Returns which option makes the network larger, for advice against underfitting."""
        name = self.size_options[0]
        size = getattr(self, name)
        return f"--{name} {2 * size} instead of {size}"

    def to_json(self) -> dict[str, Any]:
        """Returns the configuration with its tag; `NetworkRegistry.read` is the inverse."""
        return {"kind": self.kind, "version": self.version, "config": asdict(self)}
