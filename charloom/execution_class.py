"""The execution class: all that the bits of a float product depend on.

Within one class the same request gives the same bytes, which is promise 1's reach.
"""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "int8"]
"""The numbers in which a bundle's products are computed."""


@dataclass(frozen=True)
class ExecutionClass:
    """What two servers must share to generate the same bytes.

    Attributes:
        precision: of the weights, such as float32.
        provider: onnxruntime's execution provider: cpu or cuda.
        runtime: name and version of the runtime, such as onnxruntime-1.32.0.
        instruction_set: of the processor, or of the GPU.
        padding: rows of the smallest batch; smaller ones are padded to it.
    """

    precision: str
    provider: str
    runtime: str
    instruction_set: str
    padding: int

    def __str__(self) -> str:
        return "/".join(
            (self.precision, self.provider, self.runtime, self.instruction_set, f"pad{self.padding}")
        )
