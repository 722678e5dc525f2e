"""The options of an evaluation: the part of a text to measure, and how. Options need no numpy."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from charloom.errors import CharloomError
from charloom.ranges import check_ranges

Part = Literal["whole", "training", "validation", "test"]
Precision = Literal["auto", "float32", "bfloat16", "int8"]


class EvaluationError(CharloomError):
    """A text, or a part of it, cannot be measured."""

    exit_code = 2


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure, and how."""

    part: Part = "whole"
    """Part of the text to measure: the whole of it, or, of the text that the model was trained on, the
    part that training, validation or the test at its end read."""
    lanes: Annotated[int, Meta(ge=0)] = 0
    """Pieces of the text to read side by side: 1 carries the state through the whole text, 0 takes up
    to 32 of at least 2,048 tokens each, as validation in training does."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to run on; auto takes a GPU where there is one that works, else the CPU."""
    precision: Precision = "auto"
    """Precision to compute in: float32 or bfloat16 for a checkpoint, where auto takes what its run validated
    in; float32 or int8 for a bundle, where auto takes the fastest in it that the hardware runs well."""
    skip_unknown: bool = False
    """Leave out characters that the model does not know, instead of refusing the text."""

    def __post_init__(self) -> None:
        check_ranges(self)
