"""The options of reporting: what a run prints, samples and records."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from charloom.ranges import FINITE, check_ranges


@dataclass(frozen=True)
class PreviewConfig:
    """Samples shown while training."""

    preview_temperatures: tuple[Annotated[float, Meta(ge=0, le=FINITE)], ...] = (0.5, 0.8, 1.0)
    """Temperatures of the samples shown at each evaluation."""
    preview_length: Annotated[int, Meta(ge=0)] = 160
    """Tokens of each sample; 0 shows none."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class ReportConfig:
    """What is printed while training."""

    print_every: Annotated[int, Meta(ge=0)] = 0
    """Steps between two lines about the progress; 0 prints a line each half minute, or on a terminal a
    bar that moves."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class RunLogConfig:
    """What a run logs."""

    metrics_every: Annotated[int, Meta(ge=0)] = 50
    """Steps between two lines of metrics.jsonl; 0 writes one at each evaluation only."""
    tensorboard: bool = False
    """Write the numbers for TensorBoard too, which must be installed."""

    def __post_init__(self) -> None:
        check_ranges(self)
