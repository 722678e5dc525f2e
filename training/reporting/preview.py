"""Previews: short samples that show what a model has learned so far.

They run the same step and sampler as an exported model, on the CPU in float32, and change neither the
model nor the training's random numbers.
"""

import numpy as np
import torch

from charloom.vocabulary import Vocabulary
from networks import sampler
from networks.language_model import LanguageModel
from training.reporting.config import PreviewConfig


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
