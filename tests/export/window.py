"""The second network as ONNX: what a new kind of network brings to `export/`, here for tests alone."""

import torch

from charloom.burst import StateSpec
from export.graph import GraphBuilder, Value, Values
from export.products import Products
from export.recurrent import numbers
from export.step import StepBuilders
from networks.language_model import LanguageModel
from tests.networks.window import WindowStep


class WindowStepBuilder:
    """Builds a step whose state is the last N token ids.

    The vector of a token, times its part of the hidden layer, is a row of a table for each place in the
    window: so only what has passed tanh is multiplied, and lies within -1 and 1.
    """

    def __init__(self, model: LanguageModel, products: Products) -> None:
        step = model.step()
        assert isinstance(step, WindowStep)
        self.state: list[StateSpec] = list(step.specs)
        (self.places,) = self.state[0].shape
        self.encode = products.encode
        parts = step.hidden.weight.T.reshape(self.places, -1, step.hidden.out_features)  # [N, W, 2W]
        tables = torch.einsum("tw,nwh->nth", step.vectors.weight, parts)  # [N, V + 1, 2W]
        for place in range(self.places):
            products.weights[f"place{place}"] = numbers(tables[place])
        products.weights["hidden.bias"] = numbers(step.hidden.bias)
        self.output = products.add("output", numbers(step.scores.weight.T), numbers(step.scores.bias))

    def advance(self, op: GraphBuilder, last: Value, state: Values) -> tuple[Value, Values]:
        window = op.Concat(op.Slice(state[0], [1], [self.places], [1], [1]), op.Unsqueeze(last, [1]), axis=1)
        total = op.weight("hidden.bias")
        for place in range(self.places):
            fed = op.Gather(window, place, axis=1)  # [B]
            total = op.Add(total, op.Gather(op.weight(f"place{place}"), fed, axis=0))
        return self.encode(op, op.Tanh(total)), [window]

    def scores(self, op: GraphBuilder, features: Value) -> Value:
        return self.output(op, features)


WINDOW_BUILDERS: StepBuilders = {"window": WindowStepBuilder}
