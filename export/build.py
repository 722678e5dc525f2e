"""Builds the burst graphs of a trained model in one precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charloom.burst import GraphKind, StateSpec, TensorSpec
from charloom.execution_class import Precision
from charloom.manifest import Graph, TensorInfo, Variant, graph_file, weights_file
from export.burst import GRAPHS
from export.step import PRECISIONS, STEP_BUILDERS, StepBuilders
from export.weights import WeightsFile
from networks.language_model import LanguageModel


@dataclass(frozen=True)
class BurstGraphs:
    """The graphs of one precision, and the weights that they share."""

    precision: Precision
    graphs: Mapping[GraphKind, bytes]
    weights: WeightsFile
    state: list[StateSpec]
    weights_of: Mapping[GraphKind, list[str]]
    """The weights that each graph takes, by name."""
    described: Mapping[GraphKind, Graph]
    """What the manifest says of each graph."""

    @property
    def files(self) -> dict[str, bytes]:
        """The files of a bundle that hold them."""
        graphs = {graph_file(self.precision, kind): data for kind, data in self.graphs.items()}
        return {weights_file(self.precision): self.weights.data, **graphs}

    def variant(self, verification: Mapping[str, Any]) -> Variant:
        """What the manifest says of this precision."""
        return Variant(
            weights=weights_file(self.precision),
            graphs=dict(self.described),
            state=self.state,
            verification=dict(verification),
        )


def build_graphs(
    model: LanguageModel,
    precision: Precision,
    builders: StepBuilders = STEP_BUILDERS,
    unknown: int | None = None,
) -> BurstGraphs:
    """Builds all graphs of a model; later changes of its weights do not show.

    Args:
        model: the model.
        precision: what its graphs compute in.
        builders: what builds the step of each kind of network.
        unknown: the vocabulary's unknown token, which is never sampled; None if it has none.
    """
    products = PRECISIONS[precision]()
    step = builders[model.config.kind](model, products)
    weights = WeightsFile(products.weights)
    references = weights.references(weights_file(precision))
    bursts = {kind: make(step, model.outputs, references, unknown) for kind, make in GRAPHS.items()}
    return BurstGraphs(
        precision=precision,
        graphs={kind: burst.build() for kind, burst in bursts.items()},
        weights=weights,
        state=step.state,
        weights_of={kind: burst.op.initializers.used for kind, burst in bursts.items()},
        described={
            kind: Graph(graph_file(precision, kind), described(burst.takes), described(burst.gives))
            for kind, burst in bursts.items()
        },
    )


def described(specs: list[TensorSpec]) -> list[TensorInfo]:
    """Inputs or outputs as a manifest lists them."""
    return [TensorInfo(spec.name, spec.dtype, list(spec.dims)) for spec in specs]
