"""Muon: momentum whose every step is made orthogonal, for the matrices within a network.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"
(https://kellerjordan.github.io/posts/muon/). The matrices of a recurrent layer are the products of its gates
stacked; each gate's is made orthogonal by itself, since the gates differ in the size of their gradients.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic a*x + b*x^3 + c*x^5, which takes singular values between 0 and 1 near 1 in a few rounds."""
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Steps along orthogonalised momentum, with decoupled weight decay."""

    def __init__(
        self,
        stacks: Sequence[tuple[nn.Parameter, int]],
        lr: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Takes matrices [N*R, C], each with the number N of those that are stacked in it.

        Args:
            stacks: the matrices, and how many are stacked in each.
            lr: the learning rate, about the norm by which a step changes what a matrix makes of a vector.
            weight_decay: decoupled weight decay, as a share of the learning rate.
            dtype: precision of the products that make a step orthogonal.
        """
        groups: dict[int, list[nn.Parameter]] = {}
        for parameter, count in stacks:
            groups.setdefault(count, []).append(parameter)
        defaults = {"lr": lr, "weight_decay": weight_decay}
        super().__init__(
            [{"params": parameters, "count": count} for count, parameters in groups.items()], defaults
        )
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Updates all matrices that have a gradient."""
        for group in self.param_groups:
            self.step_group(group)

    def step_group(self, group: dict[str, Any]) -> None:
        """Updates matrices that stack equally many; those of one shape are orthogonalised in one batch."""
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                shapes.setdefault(parameter.shape, []).append(parameter)
        count, rate = group["count"], group["lr"]
        for (rows, columns), parameters in shapes.items():
            ahead = [self.momentum(parameter) for parameter in parameters]
            stacked = torch.stack(ahead).view(-1, rows // count, columns)  # [N, R, C]
            steps = orthogonalised(stacked, self.dtype).reshape(-1, rows, columns)
            # Of a matrix that is taller than wide the outputs would else change less than its width promises.
            size = max(1.0, rows / count / columns) ** 0.5
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.mul_(1 - rate * group["weight_decay"]).add_(step, alpha=-rate * size)

    def momentum(self, parameter: nn.Parameter) -> Tensor:
        """Takes a gradient into its moving average; returns the average as it will be, after Nesterov."""
        gradient = parameter.grad
        assert gradient is not None, "others are left as they are"
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        average = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(average, MOMENTUM)


def orthogonalised(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Takes the singular values of matrices [N, R, C] near 1 and keeps their singular vectors.

    Newton and Schulz's iteration; values end between about 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)).to(dtype)
    for _ in range(ROUNDS):
        squares = x @ x.mT  # [N, R, R]
        fourths = torch.baddbmm(squares, squares, squares, beta=b, alpha=c)
        x = torch.baddbmm(x, fourths, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
