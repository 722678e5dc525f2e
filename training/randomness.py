"""Random numbers of training steps: every step's follow from the seed, the step and the rank alone.

So a run that goes on from a checkpoint, on as many ranks or on others, needs none of the numbers that
were drawn before. What each lane of the text meets, such as dropout of activations, is drawn from
PyTorch's own generator, which differs between ranks. What belongs to the weights, such as a mask over
them, has to be the same on all ranks, as they all train the same weights: it is drawn from `shared`.
"""

import numpy as np
import torch


class Randomness:
    """The generators of a training on one rank."""

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self.seed = seed
        self.rank = rank
        self.shared = torch.Generator(device)
        """Draws what is the same on all ranks."""
        self.own = own_generator(device)

    def begin(self, step: int) -> None:
        """Sets both generators to where a step begins, counted from 0."""
        self.shared.manual_seed(derived(self.seed, step, 0))
        self.own.manual_seed(derived(self.seed, step, 1 + self.rank))


def own_generator(device: torch.device) -> torch.Generator:
    """The generator from which PyTorch draws on a device where it is told none.

    `torch.manual_seed` would seed those of all devices, and without a GPU takes a share of a step.
    """
    if device.type == "cpu":
        return torch.default_generator
    torch.cuda.init()  # type: ignore[no-untyped-call]
    return torch.cuda.default_generators[
        torch.cuda.current_device() if device.index is None else device.index
    ]


def derived(*numbers: int) -> int:
    """A seed for PyTorch that follows from numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
