"""The configuration of the recurrent network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

from charloom.errors import require
from networks.config import DropoutRates, NetworkConfig

Cell = Literal["lstm", "gru", "rnn"]

MOST_LAYERS = 64
WIDEST = 65_536
"""Most cells of a layer, and the largest embedding."""

SHORT, SMALL, USUAL = 200_000, 128, 256
"""A text of fewer characters than SHORT gets layers of SMALL cells, any other one layers of USUAL cells."""

STRONGEST = DropoutRates(
    dropout=0.25, input_dropout=0.1, output_dropout=0.4, token_dropout=0.0, weight_dropout=0.5
)
"""The dropout of a wide network that could learn the text by heart."""

WIDE = 384
"""Cells of a layer from which on STRONGEST suits; narrower layers get less, and less than in proportion."""


@dataclass(frozen=True)
class RecurrentConfig(NetworkConfig):
    """Size and kind of the network."""

    kind: ClassVar[str] = "recurrent"
    version: ClassVar[int] = 1
    size_options: ClassVar[tuple[str, ...]] = ("cells", "layers", "embedding")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "char-rnn": {"cell": "lstm", "layers": 2, "cells": 128, "embedding": 0},
        "thorough": {"cell": "lstm", "layers": 2, "cells": 384, "embedding": 64},
    }

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

    @property
    def description(self) -> str:
        """See NetworkConfig."""
        fed = f"embedding {self.embedding}" if self.embedding else "one-hot"
        return f"{self.cell.upper()}, {self.layers} x {self.cells} cells, {fed}"

    def sized(self, characters: int) -> Self:
        """See NetworkConfig."""
        return self if self.cells else replace(self, cells=SMALL if characters < SHORT else USUAL)

    def suited_dropout(self, strength: float) -> DropoutRates:
        """See NetworkConfig."""
        share = strength * min(1.0, self.cells / WIDE) ** 1.5
        suited = DropoutRates(**{name: round(share * most, 2) for name, most in vars(STRONGEST).items()})
        return self._fed_whole(suited)

    def uniform_dropout(self, rate: float) -> DropoutRates:
        """See NetworkConfig."""
        return self._fed_whole(super().uniform_dropout(rate))

    def larger_hint(self) -> str:
        """See NetworkConfig."""
        return f"{super().larger_hint()}, or --layers {self.layers + 1}"

    def _fed_whole(self, rates: DropoutRates) -> DropoutRates:
        # A unit of a one-hot input is a whole character.
        return rates if self.embedding else replace(rates, input_dropout=0.0)
