"""The burst as a torch module: K steps of B streams in one call, sampling included.

This module becomes the ONNX graph. Its inputs and outputs, and why they are as they are, stand in
`charloom/burst.py`; cells and samplers are the ones that training previews with. It knows nothing
of ONNX (`export/onnx_graph.py`).

There are two. The plain burst samples by temperature alone and is what nearly all rows need. The
full burst has every sampler; as one graph for both, a small model ran at half the speed. A row at
neutral values gets the same bits from either, which every export verifies.
"""

import torch

# `scan` is a private name in torch: this is the one file that knows it.
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from typing_extensions import override

from charloom.burst import ALTERNATIVES, FULL_INPUTS, FULL_OUTPUTS, PLAIN_INPUTS, PLAIN_OUTPUTS
from training import sampler
from training.step import Step

Memory = tuple[Tensor, ...]
Named = dict[str, Tensor]


class PlainBurst(nn.Module):
    """Forced tokens, then samples by temperature."""

    inputs = PLAIN_INPUTS
    outputs = PLAIN_OUTPUTS

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Takes the inputs in their declared order, then the state; gives outputs, then the state."""
        given = dict(zip((spec.name for spec in self.inputs), tensors, strict=False))
        state = tensors[len(self.inputs) :]
        inverse = sampler.inverse(given["temperature"])  # [K, B]
        uniform = sampler.settle(given["uniform"], inverse)

        def one_step(
            carry: tuple[Tensor, tuple[Tensor, ...], Memory], x: tuple[Tensor, ...]
        ) -> tuple[tuple[Tensor, tuple[Tensor, ...], Memory], tuple[Tensor, ...]]:
            last, state, memory = carry
            index, forced, inverse, uniform = x
            scores, following = self.step(last, state)
            mass = sampler.probabilities(self.adjust(scores, memory, index, given), inverse)
            sampled = sampler.draw(self.filter(mass, given), uniform)
            chosen = torch.where(index < given["forced_len"], forced, sampled)
            running = index < given["steps"]
            chosen = torch.where(running, chosen, last)
            following = tuple(
                torch.where(running[:, None], new, old) for new, old in zip(following, state, strict=True)
            )
            # The clone keeps scan from seeing one tensor as both carry and output.
            report = (chosen.clone(), log_probability(scores, chosen), *self.report(scores))
            return (chosen, following, self.remember(memory, chosen)), report

        indices = torch.arange(uniform.shape[0])
        (last, state, _), (chosen, logprob, *more) = scan(
            one_step,
            (given["last"].clone(), state, self.memory(given)),
            (indices, given["forced"], inverse, uniform),
        )
        return (chosen, logprob, last, *more, *state)

    def memory(self, given: Named) -> Memory:  # noqa: ARG002
        """What a step remembers beside the model's state."""
        return ()

    def adjust(self, scores: Tensor, memory: Memory, index: Tensor, given: Named) -> Tensor:  # noqa: ARG002
        """Changes scores [B, V] before they become probabilities."""
        return scores

    def filter(self, mass: Tensor, given: Named) -> Tensor:  # noqa: ARG002
        """Sets to zero the probability [B, V] of what may not be sampled."""
        return mass

    def remember(self, memory: Memory, chosen: Tensor) -> Memory:  # noqa: ARG002
        """The memory after a step that chose `chosen` [B]."""
        return memory

    def report(self, scores: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Further outputs of a step."""
        return ()


class FullBurst(PlainBurst):
    """Every sampler of the contract."""

    inputs = FULL_INPUTS
    outputs = FULL_OUTPUTS

    @override
    def memory(self, given: Named) -> Memory:
        return (given["recent"].clone(),)  # [B, W]

    @override
    def adjust(self, scores: Tensor, memory: Memory, index: Tensor, given: Named) -> Tensor:
        scores = sampler.penalise(
            scores,
            memory[0],
            given["window"],
            given["repetition_penalty"],
            given["frequency_penalty"],
            given["presence_penalty"],
        )
        generated = given["position"] + index - given["generation_start"]  # [B]
        active = generated[:, None] < given["bias_until"]
        scores = sampler.bias(scores, given["bias_token"], given["bias_value"], active)
        return sampler.allow(scores, given["allowed"])

    @override
    def filter(self, mass: Tensor, given: Named) -> Tensor:
        limits = (given[name] for name in ("top_k", "min_p", "typical_p", "top_p"))
        return sampler.keep_likeliest(mass, *limits)

    @override
    def remember(self, memory: Memory, chosen: Tensor) -> Memory:
        return (torch.cat([memory[0][:, 1:], chosen[:, None]], 1),)

    @override
    def report(self, scores: Tensor) -> tuple[Tensor, ...]:
        values, tokens = torch.topk(torch.log_softmax(scores, -1), min(ALTERNATIVES, scores.shape[1]))
        return tokens, values


def log_probability(scores: Tensor, chosen: Tensor) -> Tensor:
    """The model's own log-probability [B] of the chosen tokens [B], whatever the samplers did."""
    # A frozen row that never ran may still hold the start token, which has no score.
    index = chosen.clamp(max=scores.shape[1] - 1)
    return torch.gather(scores, 1, index[:, None])[:, 0] - torch.logsumexp(scores, -1)
