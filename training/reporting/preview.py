"""Previews: short samples that show what a model has learned so far.

They run the same step and sampler as an exported model, on the CPU in float32, and change neither the
model nor the training's random numbers.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from charloom.errors import require
from charloom.vocabulary import Vocabulary
from networks import sampler
from networks.language_model import LanguageModel


@dataclass(frozen=True)
class PreviewConfig:
    """Samples shown while training."""

    preview_temperatures: tuple[float, ...] = (0.5, 0.8, 1.0)
    """Temperatures to sample at."""
    preview_length: int = 160
    """Characters of each sample; 0 shows none."""

    def __post_init__(self) -> None:
        fine = all(0 <= t < math.inf for t in self.preview_temperatures)
        require(fine, "preview-temperatures", "must be at least 0, and finite")
        require(self.preview_length >= 0, "preview-length", "must be at least 0")


@torch.no_grad()
def preview(
    model: LanguageModel, vocabulary: Vocabulary, config: PreviewConfig, seed: tuple[int, ...]
) -> list[tuple[float, str]]:
    """Samples a text at each temperature, each in a stream of its own from the start token on."""
    rows = len(config.preview_temperatures)
    if not rows or not config.preview_length:
        return []
    step = model.step().to("cpu")
    inverse = sampler.inverse(torch.tensor(config.preview_temperatures, dtype=torch.float32))[:, None]
    random = np.random.default_rng(seed)
    uniform = torch.from_numpy(random.random((config.preview_length, rows, 1), dtype=np.float32))
    last = torch.full((rows,), vocabulary.start)
    state = step.initial_state(rows)
    chosen = []
    for u in uniform:
        scores, state = step(last, state)
        last = sampler.draw(sampler.probabilities(scores, inverse), sampler.settle(u, inverse))
        chosen.append(last)
    samples = torch.stack(chosen, 1).numpy()  # [B, T]
    return [(t, vocabulary.decode(row)) for t, row in zip(config.preview_temperatures, samples, strict=True)]
