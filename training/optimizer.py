"""The optimiser: steps along clipped gradients with a scheduled learning rate."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from charloom.errors import require

Kind = Literal["adamw", "rmsprop"]
Clip = Literal["norm", "value"]
Schedule = Literal["cosine", "linear", "epochs"]

LOWEST = 0.01
"""Share of the learning rate with which a cosine or linear schedule ends."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights are updated."""

    optimizer: Kind = "adamw"
    """Kind of optimiser."""
    learning_rate: float = 3e-3
    """Highest learning rate."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay; biases do not decay."""
    alpha: float = 0.95
    """RMSprop's smoothing of squared gradients."""
    clip: float = 1.0
    """Bound of the gradient; 0 leaves it as it is."""
    clip_by: Clip = "norm"
    """Bound the norm of the whole gradient, or the value of each element."""
    schedule: Schedule = "cosine"
    """How the learning rate falls: along a cosine or linear, over the epochs or the minutes, whichever
    is further; or epochs, by a factor an epoch."""
    warmup: int = 50
    """Steps in which a cosine or linear schedule rises to its highest rate."""
    decay: float = 0.97
    """Factor an epoch of the epochs schedule."""
    decay_after: int = 10
    """Epochs before the epochs schedule begins to fall."""

    def __post_init__(self) -> None:
        require(self.optimizer in get_args(Kind), "optimizer", f"must be one of {', '.join(get_args(Kind))}")
        require(0 < self.learning_rate < math.inf, "learning-rate", "must be above 0")
        require(self.weight_decay >= 0, "weight-decay", "must be at least 0")
        require(0 <= self.alpha < 1, "alpha", "must be at least 0 and below 1")
        require(self.clip >= 0, "clip", "must be at least 0")
        require(self.clip_by in get_args(Clip), "clip-by", f"must be one of {', '.join(get_args(Clip))}")
        require(
            self.schedule in get_args(Schedule),
            "schedule",
            f"must be one of {', '.join(get_args(Schedule))}",
        )
        require(self.warmup >= 0, "warmup", "must be at least 0")
        require(0 < self.decay <= 1, "decay", "must be above 0 and at most 1")
        require(self.decay_after >= 0, "decay-after", "must be at least 0")


class Optimizer:
    """Trains the weights of one model."""

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self.config = config
        self.parameters = list(model.parameters())
        self.torch = build(self.parameters, config)

    def step(self, loss: Tensor, rate: float) -> None:
        """Updates the weights by the gradient of a loss, with a learning rate."""
        self.torch.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip and self.config.clip_by == "norm":
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        elif self.config.clip:
            nn.utils.clip_grad_value_(self.parameters, self.config.clip)
        for group in self.torch.param_groups:
            group["lr"] = rate
        self.torch.step()

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
        return {
            f"{index}.{name}": value
            for index, parameter in enumerate(self.parameters)
            for name, value in self.torch.state[parameter].items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restores the state that `tensors` returned."""
        mine = self.torch.state_dict()["param_groups"]
        # PyTorch counts the parameters group by group.
        grouped = [parameter for group in self.torch.param_groups for parameter in group["params"]]
        numbers = {id(parameter): number for number, parameter in enumerate(grouped)}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            state.setdefault(numbers[id(self.parameters[int(index)])], {})[key] = value
        self.torch.load_state_dict({"state": state, "param_groups": mine})


def build(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Makes the optimiser of the configured kind."""
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=config.learning_rate, alpha=config.alpha)
    matrices = [p for p in parameters if p.dim() > 1]
    biases = [p for p in parameters if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
