"""Advice: whether a model learns its text by heart or not enough of it, from the losses measured so far.

The rules of thumb are those of char-rnn's README: a training loss far below the validation loss means
overfitting, two that are about equal mean a model that is too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from networks.config import NetworkConfig

WIDE = 0.10
"""Share of the validation loss by which the training loss lies below it where a model overfits."""
NARROW = 0.03
"""Share within which the two are about equal."""
WORSE = 0.01
"""Share by which a validation loss is above the best that is no accident any more."""
FALLING = 0.005
"""Share by which it fell with the last evaluation while a model is still learning."""
HIGHEST = 0.5
"""Share dropped beyond which more seldom helps."""
FEWEST = 3
"""Evaluations before which there is nothing to say."""


@dataclass(frozen=True)
class Measurement:
    """Losses of one evaluation, in nats a token."""

    epoch: float
    training: float
    validation: float

    @property
    def gap(self) -> float:
        """Share of the validation loss by which the training loss lies below it."""
        return (self.validation - self.training) / self.validation if self.validation else 0.0


@dataclass(frozen=True)
class Advice:
    """A finding from the losses, its reasons, and what to try."""

    finding: str
    reasons: tuple[str, ...]


def advice(measured: Sequence[Measurement], config: NetworkConfig, dropout: float) -> Advice:
    """Judges a run by its losses.

    Args:
        measured: evaluations, the oldest first.
        config: the network.
        dropout: the highest of its dropout rates.
    """
    if len(measured) < FEWEST:
        return Advice("Too early to say", ("Losses tell something after a few evaluations.",))
    best, last = min(measured, key=lambda one: one.validation), measured[-1]
    if last.validation > best.validation * (1 + WORSE) and last.training < best.training:
        return Advice("Overfitting", (turned(best, last), smaller(config, dropout)))
    if best.gap > WIDE:
        return Advice("Overfitting", (wide(best), smaller(config, dropout)))
    falling = last is best and 1 - last.validation / measured[-2].validation > FALLING
    more = (
        (
            "The validation loss was still falling at the last evaluation: train longer first, "
            "with more --epochs or more --max-minutes.",
        )
        if falling
        else ()
    )
    if best.gap < NARROW:
        return Advice(
            "Still learning" if falling else "Underfitting", (equal(best), *more, larger(config, dropout))
        )
    return Advice(
        "Still learning" if falling else "Well balanced",
        (
            f"The training loss, {best.training:.3f}, lies a little below the validation loss, "
            f"{best.validation:.3f}, as it does where a model fits its text.",
            *(more or ("A larger model with more dropout may still do better; only trying tells.",)),
        ),
    )


def turned(best: Measurement, last: Measurement) -> str:
    """Says that the validation loss rises while the training loss falls."""
    return (
        f"The validation loss was best at epoch {best.epoch:.2f}, {best.validation:.3f}. Since then it has "
        f"risen to {last.validation:.3f}, while the training loss has gone on falling, to "
        f"{last.training:.3f}: the model is learning its text by heart. The best checkpoint is kept, and is "
        "the one to use."
    )


def wide(best: Measurement) -> str:
    """Says that the training loss is far below the validation loss."""
    return (
        f"The training loss, {best.training:.3f}, lies {best.gap:.0%} below the validation loss, "
        f"{best.validation:.3f}: part of what the model knows is true of its own text alone."
    )


def equal(best: Measurement) -> str:
    """Says that the training loss is not below the validation loss."""
    if best.gap < -NARROW:
        return (
            f"The training loss, {best.training:.3f}, lies above the validation loss, {best.validation:.3f}: "
            "it is taken with dropout, while the model still learnt. Nothing is learnt by heart, and there "
            "is room for more."
        )
    return (
        f"The training loss, {best.training:.3f}, is about the validation loss, {best.validation:.3f}: "
        "what the model has learnt holds for new text too, and it has room for more."
    )


def smaller(config: NetworkConfig, dropout: float) -> str:
    """Says what helps against overfitting."""
    more = f"more dropout (each rate higher; the highest is {dropout:g}), " if dropout < HIGHEST else ""
    return f"What helps: {more}a smaller model ({config.smaller_hint()}), and above all more text."


def larger(config: NetworkConfig, dropout: float) -> str:
    """Says what helps against underfitting."""
    less = f" or less dropout (the highest rate is {dropout:g})" if dropout else ""
    return f"What helps: a larger model ({config.larger_hint()}){less}."
