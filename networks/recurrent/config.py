"""The configuration of the recurrent network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

from msgspec import Meta

from charloom.ranges import check_ranges
from networks.config import DropoutRates, NetworkConfig

Cell = Literal["lstm", "gru", "rnn"]

MAX_LAYERS = 64
MAX_WIDTH = 65_536
"""Cells of a layer, and size of an embedding, at the most."""

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
    layers: Annotated[int, Meta(ge=1, le=MAX_LAYERS)] = 2
    """Recurrent layers."""
    cells: Annotated[int, Meta(ge=0, le=MAX_WIDTH)] = 0
    """Cells of each layer; 0 chooses by the size of the text."""
    embedding: Annotated[int, Meta(ge=0, le=MAX_WIDTH)] = 64
    """Size of a token's embedding; 0 feeds tokens one-hot."""

    def __post_init__(self) -> None:
        check_ranges(self)

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
