"""Generation as one writes it first: one call of a runtime a token, and sampling in numpy.

It knows nothing of bursts.
"""

from collections.abc import Callable

import numpy as np
import openvino
from torch import Tensor, nn

from benchmarks.onnx_module import export_module, open_session
from charloom.burst import Array
from charloom.processor import available_cores
from networks.recurrent import RecurrentModel
from networks.step import Step

Infer = Callable[[list[Array]], list[Array]]
"""From the last tokens and the state to scores and the next state."""


class StepModule(nn.Module):
    """One step of a model: tokens and state in, scores and state out."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """From last tokens [B] and the state to scores [B, V] and the next state."""
        scores, following = self.step(inputs[0], inputs[1:])
        return (scores, *following)


class OneCall:
    """A model, one token at a time."""

    def __init__(self, model: RecurrentModel) -> None:
        self.step = Step(model)
        names = ["last", *(spec.name for spec in self.step.specs)]
        self.graph = export_module(StepModule(self.step), self.fresh(2), names)

    def fresh(self, batch: int) -> list[Array]:
        """The inputs of streams that begin."""
        return [np.zeros(batch, np.int64), *(spec.initial_rows(batch) for spec in self.step.specs)]

    def onnxruntime(self) -> Infer:
        """By onnxruntime with a thread per core."""
        session = open_session(self.graph, available_cores())
        names = [spec.name for spec in session.get_inputs()]
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
