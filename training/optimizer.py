"""The optimiser: steps along clipped gradients with a scheduled learning rate."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from training.config import OptimizerConfig
from training.muon import Muon

LOWEST = 0.01
"""Share of the learning rate with which a cosine or linear schedule ends."""


class Optimizer:
    """Trains the weights of one model."""

    def __init__(
        self,
        model: nn.Module,
        config: OptimizerConfig,
        hidden: Mapping[str, int] = MappingProxyType({}),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Makes the optimiser of the configured kind.

        Args:
            model: whose weights are trained.
            config: the kind and its rates.
            hidden: by name, the matrices that Muon trains, and how many are stacked in each.
            dtype: precision of Muon's own products.
        """
        self.config = config
        self.parameters = list(model.parameters())
        self.parts: list[torch.optim.Optimizer] = []
        """PyTorch's optimisers, each of other parameters."""
        others = self.parameters
        if config.optimizer == "muon":
            stacks = [(p, hidden[name]) for name, p in model.named_parameters() if name in hidden]
            others = [p for name, p in model.named_parameters() if name not in hidden]
            self.parts.append(Muon(stacks, config.hidden_rate, config.hidden_decay, dtype))
        self.parts.append(build(others, config))

    def step(self, loss: Tensor, rate: float) -> None:
        """Updates the weights by the gradient of a loss, with a learning rate."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip and self.config.clip_by == "norm":
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        elif self.config.clip:
            nn.utils.clip_grad_value_(self.parameters, self.config.clip)
        for part in self.parts:
            of = self.config.hidden_rate / self.config.learning_rate if isinstance(part, Muon) else 1.0
            for group in part.param_groups:
                group["lr"] = of * rate
            part.step()

    def rate(self, step: int, epoch: int, progress: float) -> float:
        """Returns the learning rate of a step.

        Args:
            step: the step, from 0.
            epoch: its epoch, from 0.
            progress: share of the training that is done.
        """
        config = self.config
        if config.schedule == "epochs":
            return config.learning_rate * config.decay ** max(0, epoch + 1 - config.decay_after)
        rise = min(1.0, (step + 1) / (config.warmup + 1))
        left = 1 - min(1.0, progress)
        if config.schedule == "cosine":
            left = 0.5 * (1 - math.cos(math.pi * left))
        return config.learning_rate * rise * (LOWEST + (1 - LOWEST) * left)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the state of the optimiser by name."""
        states = {id(parameter): state for part in self.parts for parameter, state in part.state.items()}
        return {
            f"{index}.{name}": value
            for index, parameter in enumerate(self.parameters)
            for name, value in states.get(id(parameter), {}).items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restores the state that `tensors` returned."""
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            states.setdefault(id(self.parameters[int(index)]), {})[key] = value
        for part in self.parts:
            groups = part.state_dict()["param_groups"]
            # PyTorch counts the parameters group by group.
            grouped = [parameter for group in part.param_groups for parameter in group["params"]]
            mine = {n: states[id(p)] for n, p in enumerate(grouped) if id(p) in states}
            part.load_state_dict({"state": mine, "param_groups": groups})


def build(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Makes PyTorch's optimiser of parameters; beside Muon it is AdamW."""
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=config.learning_rate, alpha=config.alpha)
    matrices = [p for p in parameters if p.dim() > 1]
    biases = [p for p in parameters if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
