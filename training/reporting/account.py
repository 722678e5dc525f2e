"""The account of a run: what its checkpoints and its page say of it.

It knows nothing of how it is trained, and writes nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from networks.recurrent import RecurrentModel
from training.data.batches import Lanes
from training.data.corpus import Corpus
from training.data.token_file import release
from training.defaults import settled
from training.hardware import Hardware
from training.options import Options
from training.progress import Progress
from training.reporting.frequency import Frequency, most_frequent
from training.reporting.page import Facts

MOST_FREQUENT = 16
"""Tokens whose share of the text a report gives."""


class Account:
    """What is said of one run, however far it has come."""

    def __init__(
        self, options: Options, corpus: Corpus, model: RecurrentModel, hardware: Hardware, lanes: Lanes
    ) -> None:
        self.options = options
        self.corpus = corpus
        self.model = model
        self.hardware = hardware
        self.lanes = lanes

    def manifest(self, progress: Progress) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and tensors."""
        return {
            "options": self.options.to_json(),
            "vocabulary": self.corpus.vocabulary.to_json(),
            "summary": self.summary(progress),
            "progress": asdict(progress),
        }

    def summary(self, progress: Progress) -> dict[str, Any]:
        """What people and manifests want to know of the model."""
        last, bits = progress.evaluations[-1], self.corpus.bits_per_character
        return {
            "text": self.corpus.summary(),
            "parameters": self.model.parameter_count(),
            "vocabulary_size": self.corpus.vocabulary.size,
            "epoch": self.lanes.epochs(progress.step),
            "steps": progress.step,
            "characters_seen": round(
                progress.step * self.lanes.tokens_per_step * self.corpus.characters_per_token
            ),
            "training_loss": last["training_loss"],
            "validation_loss": last["validation_loss"],
            "validation_bits_per_character": bits(last["validation_loss"], "validation"),
            "best_validation_loss": progress.best_loss,
            "best_validation_bits_per_character": bits(progress.best_loss, "validation"),
            "seconds": progress.seconds,
            "hardware": self.hardware.summary(),
        }

    def facts(self, name: str, state: str, progress: Progress, test_loss: float | None) -> Facts:
        """What the page says of the run beside what was noted."""
        return Facts(
            name=name,
            state=state,
            model=self.options.model,
            options=self.options.to_json(),
            defaults=settled(Options(), self.corpus).options.to_json(),
            summary=self.summary(progress),
            frequent=self.frequent,
            evaluations=progress.evaluations,
            test_loss=test_loss,
            test_bits_per_character=(
                None if test_loss is None else self.corpus.bits_per_character(test_loss, "test")
            ),
        )

    @cached_property
    def frequent(self) -> Sequence[Frequency]:
        """The most frequent tokens of the training text."""
        text = self.corpus.train
        try:
            return most_frequent(text, self.corpus.vocabulary, MOST_FREQUENT)
        finally:
            release(text)  # a step needs far fewer of them at a time than were counted
