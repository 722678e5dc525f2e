"""The summary of a run: what its checkpoints and its page state about it."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from networks.language_model import LanguageModel
from networks.registry import NetworkRegistry
from training.data.chunk import Batches
from training.data.corpus import Corpus
from training.data.token_file import release
from training.defaults import settled
from training.hardware import Hardware
from training.options import Options
from training.progress import Progress
from training.reporting.frequency import LOOKED_AT, Frequency, most_frequent
from training.reporting.page import Facts

MOST_FREQUENT = 16
"""Tokens whose share of the text the page shows."""


class RunSummary:
    """Describes one run after any number of steps."""

    def __init__(
        self,
        options: Options,
        corpus: Corpus,
        model: LanguageModel,
        hardware: Hardware,
        batches: Batches,
        networks: NetworkRegistry,
    ) -> None:
        self.options = options
        self.corpus = corpus
        self.model = model
        self.hardware = hardware
        self.batches = batches
        self.networks = networks

    def manifest(self, progress: Progress) -> dict[str, Any]:
        """Makes the JSON that a checkpoint keeps beside weights and tensors."""
        return {
            "options": self.options.to_json(),
            "vocabulary": self.corpus.vocabulary.to_json(),
            "summary": self.summary(progress),
            "progress": asdict(progress),
        }

    def summary(self, progress: Progress) -> dict[str, Any]:
        """Makes the summary that checkpoints, bundles and the page show to people."""
        last, bits = progress.evaluations[-1], self.corpus.bits_per_character
        return {
            "text": self.corpus.summary(),
            "parameters": self.model.parameter_count(),
            "vocabulary_size": self.corpus.vocabulary.size,
            "epoch": progress.step / self.batches.chunks,
            "steps": progress.step,
            "characters_seen": round(
                progress.step * self.batches.tokens_per_step * self.corpus.characters_per_token
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
        """Makes what the page states beside the run log.

        Args:
            name: name of the run.
            state: whether the run goes on, and how it ended if not.
            progress: how far it has come.
            test_loss: loss on the test text; None if it has not been measured.
        """
        return Facts(
            name=name,
            state=state,
            model=self.options.model,
            options=self.options.groups(),
            defaults=settled(self.options.defaults(), self.corpus, self.networks).options.groups(),
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
        text = self.corpus.beginning("train", LOOKED_AT)
        try:
            return most_frequent(text, self.corpus.vocabulary, MOST_FREQUENT)
        finally:
            release(text)  # a step needs far fewer of them at a time than were counted
