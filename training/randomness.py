"""Random numbers of training steps: those of a step follow from the seed, the step and the rank alone.

So a resumed run, on as many ranks or on others, needs none of the numbers that were drawn before. Masks of
single lanes, such as dropout of activations, are drawn from PyTorch's own generator, which differs
between ranks. Masks of weights must be the same on all ranks, as they all train the same weights: they are
drawn from `shared`.
"""

import numpy as np
import torch


class Randomness:
    """The generators of a training on one rank."""

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self.seed = seed
        self.rank = rank
        self.shared = torch.Generator(device)
        """Draws the same numbers on all ranks."""
        self.own = own_generator(device)

    def begin(self, step: int) -> None:
        """Seeds both generators for a step, counted from 0."""
        self.shared.manual_seed(derived(self.seed, step, 0))
        self.own.manual_seed(derived(self.seed, step, 1 + self.rank))


def own_generator(device: torch.device) -> torch.Generator:
    """Returns PyTorch's default generator of a device.

    Seeding it alone is faster than `torch.manual_seed`, which seeds those of all devices.
    """
    if device.type == "cpu":
        return torch.default_generator
    torch.cuda.init()  # type: ignore[no-untyped-call]
    return torch.cuda.default_generators[
        torch.cuda.current_device() if device.index is None else device.index
    ]


def derived(*numbers: int) -> int:
    """Derives a seed for PyTorch from numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
