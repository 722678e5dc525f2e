"""The burst as an ONNX graph: K steps of B streams in one call, sampling included.

Inputs and outputs, and why they are as they are, stand in `charloom/burst.py`. There are three graphs over
one state. The reading burst only feeds tokens: no scores, no sampling. The plain burst samples by
temperature alone, which is what nearly all rows need. The full burst has every sampler, log-probabilities,
and rows that stop early; as one graph for all, a small model ran at half the speed. Where two of them can
do the same they give the same bits, which every export verifies.
"""

from collections.abc import Mapping
from typing import ClassVar

import onnx_ir as ir

from charloom.burst import ALTERNATIVES, INPUTS, OUTPUTS, GraphKind, TensorSpec
from export import sampler
from export.graph import GraphBuilder, Initializers, Value, Values, graph_input
from export.sampler import END
from export.selected_rows import SelectedRows, all_of, any_of
from export.step import StepBuilder

Inputs = dict[str, Value]


class BurstGraph:
    """What the graphs have in common: inputs, a scan over the steps, outputs."""

    kind: ClassVar[GraphKind]

    def __init__(
        self,
        step: StepBuilder,
        vocabulary_size: int,
        weights: Mapping[str, ir.ExternalTensor],
        unknown: int | None = None,
    ):
        """Takes V, and the token that is scored and never sampled, if there is one."""
        self.step = step
        self.tokens = vocabulary_size  # V
        self.unknown = unknown
        self.op = GraphBuilder(Initializers(weights))
        self.takes = [
            *(self.sized(spec) for spec in INPUTS[self.kind]),
            *(TensorSpec(spec.name, spec.dtype, ("B", *spec.shape)) for spec in step.state),
        ]
        """The inputs: those of the contract, then the state."""
        self.gives = [
            *(self.sized(spec) for spec in OUTPUTS[self.kind]),
            *(TensorSpec(spec.output, spec.dtype, ("B", *spec.shape)) for spec in step.state),
        ]
        """The outputs, likewise."""
        self.inputs = {spec.name: graph_input(spec) for spec in self.takes}
        assert len(self.inputs) == len(self.takes), "no state tensor has the name of an input"
        self.state = [self.inputs[spec.name] for spec in step.state]

    def build(self) -> bytes:
        """The serialized model."""
        outputs, state = self.run(self.op, self.inputs, self.state)
        values = [*(outputs[spec.name] for spec in OUTPUTS[self.kind]), *state]
        return self.op.serialize(list(self.inputs.values()), values, self.gives)

    def run(self, op: GraphBuilder, inputs: Inputs, state: Values) -> tuple[Inputs, Values]:
        """The burst itself: its outputs by name, and the state after it."""
        raise NotImplementedError

    def sized(self, spec: TensorSpec) -> TensorSpec:
        """An input or output with this model's numbers of tokens and alternatives."""
        sizes = {"V": self.tokens, "A": min(ALTERNATIVES, self.tokens)}
        dims = tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.dims)
        return TensorSpec(spec.name, spec.dtype, dims, spec.neutral)


class ReadGraph(BurstGraph):
    """Feeds tokens that are all known beforehand."""

    kind: ClassVar[GraphKind] = "read"

    def run(self, op: GraphBuilder, inputs: Inputs, state: Values) -> tuple[Inputs, Values]:
        """See BurstGraph."""

        def one_step(op: GraphBuilder, state: Values, elements: Values) -> tuple[Values, Values]:
            return self.step.advance(op, elements[0], state)[1], ()

        before_last = op.Slice(inputs["forced"], [0], [-1], [0], [1])
        fed = op.Concat(op.Unsqueeze(inputs["last"], [0]), before_last, axis=0)  # [K, B]
        state, _ = op.scan(one_step, state, [fed], outputs=0)
        return {}, state


class PlainGraph(BurstGraph):
    """Forced tokens, then samples by temperature."""

    kind: ClassVar[GraphKind] = "plain"

    def run(self, op: GraphBuilder, inputs: Inputs, state: Values) -> tuple[Inputs, Values]:
        """See BurstGraph."""
        inverse = op.Unsqueeze(sampler.inverse(op, inputs["temperature"]), [2])  # [K, B, 1]
        uniform = sampler.settle(op, op.Unsqueeze(inputs["uniform"], [2]), inverse)
        steps = op.Squeeze(op.Shape(inputs["temperature"], start=0, end=1))  # K
        indices = op.Range(0, steps, 1)  # [K]
        is_forced = op.Less(op.Unsqueeze(indices, [1]), inputs["forced_len"])  # [K, B]

        def one_step(op: GraphBuilder, carry: Values, elements: Values) -> tuple[Values, Values]:
            index, is_forced, forced, inverse, uniform = elements
            last, state, memory = carry[0], carry[1 : 1 + len(self.state)], carry[1 + len(self.state) :]
            features, following = self.step.advance(op, last, state)
            scores = self.step.scores(op, features)
            offered = (
                scores if self.unknown is None else sampler.exclude(op, scores, self.unknown, self.tokens)
            )
            mass = self.probabilities(op, offered, inverse, memory, index)
            sampled = sampler.draw(op, mass, uniform, self.tokens)
            chosen = op.Where(is_forced, forced, sampled)
            chosen, *following = self.freeze(op, [chosen, *following], [last, *state], index)
            reported = self.report(op, scores, chosen)
            # The Identity is there since one value cannot be both carry and output.
            return [chosen, *following, *self.remember(op, memory, chosen)], [op.Identity(chosen), *reported]

        names = [spec.name for spec in OUTPUTS[self.kind]]
        carry, outputs = op.scan(
            one_step,
            [inputs["last"], *state, *self.memory()],
            [indices, is_forced, inputs["forced"], inverse, uniform],
            outputs=len(names),
        )
        return dict(zip(names, outputs, strict=True)), carry[1 : 1 + len(state)]

    def memory(self) -> Values:
        """What a burst carries from step to step beside the last token and the model's state."""
        return ()

    def probabilities(
        self,
        op: GraphBuilder,
        scores: Value,
        inverse: Value,
        memory: Values,  # noqa: ARG002
        index: Value,  # noqa: ARG002
    ) -> Value:
        """From scores [B, V] what is sampled from, at each row's inverse temperature [B, 1]."""
        return sampler.probabilities(op, scores, inverse)

    def freeze(self, op: GraphBuilder, after: Values, before: Values, index: Value) -> Values:  # noqa: ARG002
        """What chosen tokens [B] and state tensors [B, ...] are after a step."""
        return after

    def remember(self, op: GraphBuilder, memory: Values, chosen: Value) -> Values:  # noqa: ARG002
        """The memory after a step that chose `chosen` [B]."""
        return memory

    def report(self, op: GraphBuilder, scores: Value, chosen: Value) -> Values:  # noqa: ARG002
        """The outputs of a step beside the chosen tokens."""
        return ()


class FullGraph(PlainGraph):
    """Every sampler of the contract, each at the cost of the rows that need it."""

    kind: ClassVar[GraphKind] = "full"

    def run(self, op: GraphBuilder, inputs: Inputs, state: Values) -> tuple[Inputs, Values]:
        """See BurstGraph."""
        self.selected = {
            name: SelectedRows.where(op, needed) for name, needed in self.needs(op, inputs).items()
        }
        return super().run(op, inputs, state)

    def needs(self, op: GraphBuilder, inputs: Inputs) -> Inputs:
        """For everything that costs more than a glance, the rows that need it: bool [B]."""
        biased = any_of(op, op.Not(op.Equal(inputs["bias_value"], 0.0)), [1])
        forbidding = op.Not(all_of(op, inputs["allowed"], [1]))
        return {
            "adjust": op.Or(op.Or(op.Greater(inputs["window"], 0), biased), forbidding),
            "top_k": op.Greater(inputs["top_k"], 0),
            "min_p": op.Greater(inputs["min_p"], 0.0),
            "typical_p": op.Less(inputs["typical_p"], 1.0),
            "top_p": op.Less(inputs["top_p"], 1.0),
            "alternatives": inputs["alternatives"],
        }

    def memory(self) -> Values:
        """The newest tokens, int64 [B, W], for penalties."""
        return (self.inputs["recent"],)

    def probabilities(
        self, op: GraphBuilder, scores: Value, inverse: Value, memory: Values, index: Value
    ) -> Value:
        """See PlainGraph: biases, penalties, forbidden tokens, temperature, then the filters."""
        generated = op.Sub(op.Add(self.inputs["position"], index), self.inputs["generation_start"])  # [B]
        active = op.Less(op.Unsqueeze(generated, [1]), self.inputs["bias_until"])
        adjusted = self.selected["adjust"].update(
            op,
            scores,
            self.adjust,
            scores,
            self.inputs["allowed"],
            self.inputs["bias_token"],
            self.inputs["bias_value"],
            active,
            *memory,
            self.inputs["window"],
            self.inputs["repetition_penalty"],
            self.inputs["frequency_penalty"],
            self.inputs["presence_penalty"],
        )
        logits = sampler.logits(op, adjusted, inverse)
        return self.filter(op, op.Softmax(logits, axis=-1), logits)

    def adjust(
        self,
        op: GraphBuilder,
        scores: Value,
        allowed: Value,
        token: Value,
        value: Value,
        active: Value,
        *penalties: Value,
    ) -> Value:
        """Biases, penalties and forbidden tokens of some rows."""
        scores = sampler.bias(op, scores, token, value, active)
        scores = sampler.penalise(op, scores, *penalties, tokens=self.tokens)
        return sampler.allow(op, scores, allowed)

    def filter(self, op: GraphBuilder, mass: Value, logits: Value) -> Value:
        """Top-k, min-p, typical and top-p, in this order, each of what the former left of mass [B, V]."""

        def keep_top_k(op: GraphBuilder, mass: Value, k: Value) -> Value:
            return sampler.keep_top_k(op, mass, k, self.tokens)

        def keep_top_p(op: GraphBuilder, mass: Value, share: Value) -> Value:
            return sampler.keep_top_p(op, mass, share, self.tokens)

        def keep_typical(op: GraphBuilder, mass: Value, logits: Value, share: Value) -> Value:
            return sampler.keep_typical(op, mass, logits, share, self.tokens)

        inputs, selected = self.inputs, self.selected
        mass = selected["top_k"].update(op, mass, keep_top_k, mass, inputs["top_k"])
        mass = selected["min_p"].update(op, mass, sampler.keep_min_p, mass, inputs["min_p"])
        typical = inputs["typical_p"]
        mass = selected["typical_p"].update(op, mass, keep_typical, mass, logits, typical)
        return selected["top_p"].update(op, mass, keep_top_p, mass, inputs["top_p"])

    def freeze(self, op: GraphBuilder, after: Values, before: Values, index: Value) -> Values:
        """See PlainGraph: rows that have run all their steps stay as they were."""
        running = op.Less(index, self.inputs["steps"])  # [B]
        ranks = [1, *(1 + len(spec.shape) for spec in self.step.state)]
        by_rank = {
            rank: op.Unsqueeze(running, list(range(1, rank))) if rank > 1 else running for rank in set(ranks)
        }
        return [
            op.Where(by_rank[rank], new, old) for rank, new, old in zip(ranks, after, before, strict=True)
        ]

    def remember(self, op: GraphBuilder, memory: Values, chosen: Value) -> Values:
        """See PlainGraph: the window of the newest tokens moves by one."""
        older = op.Slice(memory[0], [1], [END], [1], [1])
        return (op.Concat(older, op.Unsqueeze(chosen, [1]), axis=1),)

    def report(self, op: GraphBuilder, scores: Value, chosen: Value) -> Values:
        """See PlainGraph: the chosen tokens' log-probability and rank, and the likeliest tokens."""
        size = min(ALTERNATIVES, self.tokens)

        def likeliest(op: GraphBuilder, scores: Value) -> Value:
            return op.several("TopK", scores, [size], outputs=2, axis=-1)[1]

        rows = op.Shape(chosen, start=0, end=1)
        none = op.Expand(0, op.Concat(rows, [size], axis=0))
        top = self.selected["alternatives"].update(op, none, likeliest, scores)

        def place(op: GraphBuilder, scores: Value, known: Value) -> Value:
            return op.Add(sampler.count(op, op.Greater(scores, sampler.column(op, scores, known))), 1)

        logprobs = op.LogSoftmax(scores, axis=-1)
        # A frozen row that never ran may still hold the start token, which has no log-probability.
        known = op.Clip(chosen, None, self.tokens - 1)
        of_chosen = op.Squeeze(sampler.column(op, logprobs, known), [1])
        unranked = op.Expand(0, rows)
        rank = self.selected["alternatives"].update(op, unranked, place, scores, known)
        return of_chosen, top, op.GatherElements(logprobs, top, axis=1), rank


GRAPHS: Mapping[GraphKind, type[BurstGraph]] = {"read": ReadGraph, "plain": PlainGraph, "full": FullGraph}
