"""Previews: short samples that show what a model has learned so far.

They run the same step and sampler as an exported model, on the CPU in float32, and change neither the
model nor the training's random numbers.
"""

import numpy as np
import torch

from charloom.vocabulary import Tokens, Vocabulary, no_tokens
from networks import sampler
from networks.language_model import LanguageModel
from training.reporting.config import PreviewConfig


@torch.no_grad()
def preview(
    model: LanguageModel, vocabulary: Vocabulary, config: PreviewConfig, seed: tuple[int, ...]
) -> list[tuple[float, str]]:
    """Samples a text at each temperature, each in a stream of its own from the start token on.

    A text ends early where the model ends a record.
    """
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
        if vocabulary.unknown is not None:
            scores = sampler.exclude(scores, vocabulary.unknown)
        last = sampler.draw(sampler.probabilities(scores, inverse), sampler.settle(u, inverse))
        chosen.append(last)
    samples = torch.stack(chosen, 1).numpy()  # [B, T]
    texts = [vocabulary.decode(first_record(row, vocabulary.end)) for row in samples]
    return list(zip(config.preview_temperatures, texts, strict=True))


def first_record(tokens: Tokens, end: int | None) -> Tokens:
    """The tokens [T] before the first end of a record; all if there is none."""
    ended = np.flatnonzero(tokens == end) if end is not None else no_tokens()
    return tokens[: ended[0]] if len(ended) else tokens
