"""The step of a network as ONNX nodes, and which builder makes it for which network."""

from collections.abc import Callable, Mapping
from typing import Protocol

from charloom.burst import StateSpec
from charloom.execution_class import Precision
from export.graph import GraphBuilder, Value, Values
from export.products import ByteProducts, FloatProducts, Products
from export.recurrent import RecurrentStepBuilder
from networks.language_model import LanguageModel


class StepBuilder(Protocol):
    """Builds one step of a trained network: feeds a token to every row."""

    @property
    def state(self) -> list[StateSpec]:
        """The state tensors, in the order in which `advance` takes them."""
        ...

    def advance(self, op: GraphBuilder, last: Value, state: Values) -> tuple[Value, Values]:
        """From the fed tokens, int64 [B], and the state to features and the next state."""
        ...

    def scores(self, op: GraphBuilder, features: Value) -> Value:
        """From features to scores, float32 [B, V]: apart, since a burst that only reads needs none."""
        ...


PRECISIONS: Mapping[Precision, Callable[[], Products]] = {"float32": FloatProducts, "int8": ByteProducts}
StepBuilders = Mapping[str, Callable[[LanguageModel, Products], StepBuilder]]
STEP_BUILDERS: StepBuilders = {"recurrent": RecurrentStepBuilder}
"""The builder for each kind of network that the commands know."""
