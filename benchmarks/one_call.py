"""Generation as one writes it first: one call of a runtime a token, and sampling in numpy."""

from collections.abc import Callable

import numpy as np
import openvino

from benchmarks.sessions import inline, open_session
from charloom.burst import Array, TensorSpec
from charloom.processor import available_cores
from export.graph import GraphBuilder, Initializers, graph_input
from export.products import FloatProducts
from export.step import STEP_BUILDERS
from networks.language_model import LanguageModel

Infer = Callable[[list[Array]], list[Array]]
"""From the last tokens and the state to scores and the next state."""


class OneCall:
    """A model, one token at a time."""

    def __init__(self, model: LanguageModel) -> None:
        products = FloatProducts()
        self.step = STEP_BUILDERS[model.config.kind](model, products)
        op = GraphBuilder(Initializers(inline(products.weights)))
        state = self.step.state
        takes = [TensorSpec(spec.name, spec.dtype, ("B", *spec.shape)) for spec in state]
        gives = [TensorSpec(spec.output, spec.dtype, ("B", *spec.shape)) for spec in state]
        last, *values = map(graph_input, [TensorSpec("last", "int64", ("B",)), *takes])
        features, following = self.step.advance(op, last, values)
        outputs = [self.step.scores(op, features), *following]
        scores = TensorSpec("scores", "float32", ("B", model.outputs))
        self.graph = op.serialize([last, *values], outputs, [scores, *gives])

    def fresh(self, batch: int) -> list[Array]:
        """The inputs of streams that begin."""
        return [np.zeros(batch, np.int64), *(spec.initial_rows(batch) for spec in self.step.state)]

    def onnxruntime(self) -> Infer:
        """By onnxruntime with a thread per core."""
        session = open_session(self.graph, available_cores())
        names = [given.name for given in session.get_inputs()]
        return lambda inputs: list(session.run(None, dict(zip(names, inputs, strict=True))))

    def openvino(self) -> Infer:
        """By OpenVINO as it comes."""
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(self.graph), "CPU")
        request = compiled.create_infer_request()

        def infer(inputs: list[Array]) -> list[Array]:
            found = request.infer(inputs, share_inputs=True)
            return [found[output] for output in compiled.outputs]

        return infer

    def generation(self, infer: Infer, batch: int) -> Callable[[], int]:
        """What generates one token of each stream and gives their number."""
        random = np.random.default_rng(0)
        inputs = self.fresh(batch)

        def step() -> int:
            scores, *state = infer(inputs)
            inputs[:] = [sample(scores, random), *(np.array(tensor) for tensor in state)]
            return batch

        return step


def sample(scores: Array, random: np.random.Generator) -> Array:
    """One token [B] each from scores [B, V], at temperature 1."""
    mass = np.exp(scores - scores.max(1, keepdims=True))  # [B, V]
    cumulative = mass.cumsum(1)
    target = random.random((len(scores), 1), np.float32) * cumulative[:, -1:]
    chosen: Array = (cumulative <= target).sum(1)
    return chosen
