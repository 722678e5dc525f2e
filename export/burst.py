"""The burst as a torch module: K steps of B streams in one call, sampling included.

These modules become the ONNX graphs. Their inputs and outputs, and why they are as they are, stand
in `charloom/burst.py`; cells and samplers are the ones that training previews with. They know
nothing of ONNX (`export/onnx_graph.py`) nor of the numbers that products are computed in.

There are three, over the same state. The reading burst only feeds tokens: no scores, no sampling.
The plain burst samples by temperature alone, which is what nearly all rows need. The full burst
has every sampler, log-probabilities, and rows that stop early; as one graph for all, a small model
ran at half the speed. Where two of them can do the same they give the same bits, which every
export verifies.
"""

from collections.abc import Callable

import torch

# `scan` is a private name in torch: this is the one file that knows it.
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from typing_extensions import override

from charloom.burst import (
    ALTERNATIVES,
    FULL_INPUTS,
    FULL_OUTPUTS,
    PLAIN_INPUTS,
    PLAIN_OUTPUTS,
    READ_INPUTS,
    GraphKind,
    Specs,
)
from export import asking
from export.asking import Named
from networks import sampler
from networks.language_model import State
from networks.recurrent.step import RecurrentStep

Memory = tuple[Tensor, ...]


class Burst(nn.Module):
    """What all bursts have in common."""

    inputs: Specs
    outputs: Specs = ()

    def __init__(self, step: RecurrentStep) -> None:
        super().__init__()
        self.step = step

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Takes the inputs in their declared order, then the state; gives outputs, then the state."""
        given = dict(zip((spec.name for spec in self.inputs), tensors, strict=False))
        return self.run(given, tensors[len(self.inputs) :])

    def run(self, given: Named, state: State) -> tuple[Tensor, ...]:
        """The burst itself."""
        raise NotImplementedError


class ReadBurst(Burst):
    """Feeds tokens that are all known beforehand."""

    inputs = READ_INPUTS

    @override
    def run(self, given: Named, state: State) -> tuple[Tensor, ...]:
        def one_step(state: State, fed: Tensor) -> tuple[State, tuple[Tensor, ...]]:
            return self.step.advance(fed, state)[1], ()

        fed = torch.cat([given["last"][None], given["forced"][:-1]])  # [K, B]
        state, _ = scan(one_step, state, fed)
        return state


class PlainBurst(Burst):
    """Forced tokens, then samples by temperature."""

    inputs = PLAIN_INPUTS
    outputs = PLAIN_OUTPUTS

    @override
    def run(self, given: Named, state: State) -> tuple[Tensor, ...]:
        inverse = sampler.inverse(given["temperature"])[..., None]  # [K, B, 1]
        uniform = sampler.settle(given["uniform"][..., None], inverse)
        indices = torch.arange(uniform.shape[0])
        is_forced = indices[:, None] < given["forced_len"]  # [K, B]

        def one_step(
            carry: tuple[Tensor, State, Memory], x: tuple[Tensor, ...]
        ) -> tuple[tuple[Tensor, State, Memory], tuple[Tensor, ...]]:
            last, state, memory = carry
            index, is_forced, forced, inverse, uniform = x
            scores, following = self.step(last, state)
            mass = self.probabilities(scores, inverse, memory, index, given)
            sampled = sampler.draw(mass, uniform)
            chosen = torch.where(is_forced, forced, sampled)
            chosen = self.freeze(chosen, last, index, given)
            following = tuple(
                self.freeze(new, old, index, given) for new, old in zip(following, state, strict=True)
            )
            # The clone keeps scan from seeing one tensor as both carry and output.
            report = (chosen.clone(), *self.report(scores, chosen, given))
            return (chosen, following, self.remember(memory, chosen)), report

        (_, state, _), outputs = scan(
            one_step,
            (given["last"].clone(), state, self.memory(given)),
            (indices, is_forced, given["forced"], inverse, uniform),
        )
        return (*outputs, *state)

    def memory(self, given: Named) -> Memory:  # noqa: ARG002
        """What a step remembers beside the model's state."""
        return ()

    def probabilities(
        self,
        scores: Tensor,
        inverse: Tensor,
        memory: Memory,  # noqa: ARG002
        index: Tensor,  # noqa: ARG002
        given: Named,  # noqa: ARG002
    ) -> Tensor:
        """From scores [B, V] what is sampled from, at each row's inverse temperature [B, 1]."""
        return sampler.probabilities(scores, inverse)

    def freeze(self, after: Tensor, before: Tensor, index: Tensor, given: Named) -> Tensor:  # noqa: ARG002
        """What of a token [B] or a state tensor [B, H] holds after a step."""
        return after

    def remember(self, memory: Memory, chosen: Tensor) -> Memory:  # noqa: ARG002
        """The memory after a step that chose `chosen` [B]."""
        return memory

    def report(self, scores: Tensor, chosen: Tensor, given: Named) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Further outputs of a step."""
        return ()


PENALTIES = ("window", "repetition_penalty", "frequency_penalty", "presence_penalty")


class FullBurst(PlainBurst):
    """Every sampler of the contract, each at the cost of the rows that ask for it."""

    inputs = FULL_INPUTS
    outputs = FULL_OUTPUTS

    @override
    def run(self, given: Named, state: State) -> tuple[Tensor, ...]:
        return super().run(given | asking.find(asks(given)), state)

    @override
    def memory(self, given: Named) -> Memory:
        return (given["recent"].clone(),)  # [B, W]

    @override
    def probabilities(
        self, scores: Tensor, inverse: Tensor, memory: Memory, index: Tensor, given: Named
    ) -> Tensor:
        generated = given["position"] + index - given["generation_start"]  # [B]
        active = generated[:, None] < given["bias_until"]
        biases = (given["bias_token"], given["bias_value"], active)
        penalties = (*memory, *(given[name] for name in PENALTIES))
        inputs = (scores, given["allowed"], *biases, *penalties)
        logits = sampler.logits(asking.update(given, "adjust", adjust, scores, *inputs), inverse)
        return filtered(torch.softmax(logits, -1), logits, given)

    @override
    def freeze(self, after: Tensor, before: Tensor, index: Tensor, given: Named) -> Tensor:
        running = index < given["steps"]  # [B]
        return torch.where(running if after.dim() == 1 else running[:, None], after, before)

    @override
    def remember(self, memory: Memory, chosen: Tensor) -> Memory:
        return (torch.cat([memory[0][:, 1:], chosen[:, None]], 1),)

    @override
    def report(self, scores: Tensor, chosen: Tensor, given: Named) -> tuple[Tensor, ...]:
        size = min(ALTERNATIVES, scores.shape[1])
        none = chosen.new_zeros(chosen.shape[0], size)
        tokens = asking.update(given, "alternatives", lambda rows: torch.topk(rows, size)[1], none, scores)
        logprobs = torch.log_softmax(scores, -1)
        return of_chosen(logprobs, chosen), tokens, logprobs.gather(1, tokens)


BURSTS: dict[GraphKind, type[Burst]] = {"read": ReadBurst, "plain": PlainBurst, "full": FullBurst}


def asks(given: Named) -> Named:
    """For everything that costs more than a glance: which rows [B] ask for it."""
    biased = (given["bias_value"] != 0).any(1)
    return {
        "adjust": (given["window"] > 0) | biased | ~given["allowed"].all(1),
        "top_k": given["top_k"] > 0,
        "min_p": given["min_p"] > 0,
        "typical_p": given["typical_p"] < 1,
        "top_p": given["top_p"] < 1,
        "alternatives": given["alternatives"],
    }


def adjust(
    scores: Tensor, allowed: Tensor, token: Tensor, value: Tensor, active: Tensor, *penalties: Tensor
) -> Tensor:
    """Biases, penalties and forbidden tokens; see `networks/sampler.py`."""
    scores = sampler.bias(scores, token, value, active)
    scores = sampler.penalise(scores, *penalties)
    return sampler.allow(scores, allowed)


def filtered(mass: Tensor, logits: Tensor, given: Named) -> Tensor:
    """Top-k, min-p, typical and top-p, in this order, each of what the former left of mass [B, V]."""

    def ask(name: str, keep: Callable[..., Tensor], mass: Tensor, *more: Tensor) -> Tensor:
        return asking.update(given, name, keep, mass, mass, *more, given[name])

    mass = ask("top_k", sampler.keep_top_k, mass)
    mass = ask("min_p", sampler.keep_min_p, mass)
    mass = ask("typical_p", sampler.keep_typical, mass, logits)
    return ask("top_p", sampler.keep_top_p, mass)


def of_chosen(logprobs: Tensor, chosen: Tensor) -> Tensor:
    """From the model's own log-probabilities [B, V] those of the chosen tokens [B]."""
    # A frozen row that never ran may still hold the start token, which has none.
    return logprobs.gather(1, chosen.clamp(max=logprobs.shape[1] - 1)[:, None])[:, 0]
