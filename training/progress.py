"""Progress: how far a run has come, as numbers that a checkpoint keeps."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a run has come, as a checkpoint keeps it."""

    step: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    """Seconds of evaluations, with their checkpoints and samples; they are part of `seconds`."""
    loss_total: float = 0.0
    """Sum of the training losses of the `loss_steps` steps since the last evaluation."""
    loss_steps: int = 0
    logged_total: float = 0.0
    """The part of `loss_total` that the run log has, ..."""
    logged_steps: int = 0
    """... and the part of `loss_steps`."""
    best_loss: float = math.inf
    stale: int = 0
    """Evaluations since the best one."""
    held_out: int = 0
    """Tokens that each evaluation measures, as many as the first did; 0 before that."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    def check(self) -> None:
        """Raises ValueError unless it is what a checkpoint can hold."""
        for name in ("step", "loss_steps", "logged_steps", "stale", "held_out"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"its {name} is no count")
        for name in ("seconds", "evaluation_seconds", "loss_total", "logged_total", "best_loss"):
            if type(getattr(self, name)) not in (int, float):
                raise ValueError(f"its {name} is no number")
        if not isinstance(self.evaluations, list) or not self.evaluations:
            raise ValueError("it has no evaluations")
        last = self.evaluations[-1]
        if not isinstance(last, dict) or not {"step", "training_loss", "validation_loss"} <= last.keys():
            raise ValueError("its last evaluation is incomplete")

    @property
    def evaluated(self) -> bool:
        """Whether the held-out loss of this step has been measured."""
        return bool(self.evaluations) and bool(self.evaluations[-1]["step"] == self.step)
