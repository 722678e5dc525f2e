"""Models: a bundle on a device, proven exact there."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from charloom.batch_invariance import LARGEST, MAX_PADDING, Subject, check
from charloom.bundle import Bundle
from charloom.options import InvalidRequestError, Violation
from charloom.score import unknown_logprob
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.executor import Executor, open_executor
from serving.engine.host_runner import HostRunner
from serving.engine.request import find_labels
from serving.engine.slots import Slots
from serving.engine.text_requests import TextToScore, texts_to_score
from serving.engine.text_scorer import TextScorer

logger = logging.getLogger(__name__)


class Model:
    """A bundle and what runs it; makes any number of engines."""

    def __init__(self, bundle: Bundle, executor: Executor) -> None:
        self.bundle = bundle
        self.executor = executor

    @classmethod
    def load(cls, path: str | Path, config: RunnerConfig, largest_batch: int = LARGEST) -> "Model":
        """Opens a bundle and checks on this hardware that its streams are batch-invariant.

        Args:
            path: directory of the bundle.
            config: where and how bursts run.
            largest_batch: rows of the largest batch that will run.

        Raises:
            BundleError: the bundle is not whole.
            ProviderError: the device cannot be used.
            PrecisionError: the precision is not available.
            BatchInvarianceError: no batch size gives the bits of the others here.
        """
        return cls.of(Bundle.open(path), config, largest_batch)

    @classmethod
    def of(cls, bundle: Bundle, config: RunnerConfig, largest_batch: int = LARGEST) -> "Model":
        """Does what `load` does with a bundle that is open."""
        executor, remarks = open_executor(bundle, config)
        for remark in remarks:
            logger.info("model %s runs %s", bundle.name, remark)
        check_exactness(bundle, executor, largest_batch)
        return cls(bundle, executor)

    @property
    def name(self) -> str:
        """Name by which requests ask for it."""
        return self.bundle.name

    @property
    def has_ranks(self) -> bool:
        """Whether bursts give the ranks of tokens; bundles of earlier versions of Charloom do not."""
        full = self.bundle.manifest.precisions[self.executor.precision].graphs["full"]
        return any(output.name == "rank" for output in full.outputs)

    def scorer(self, text: TextToScore) -> TextScorer:
        """Returns what makes the score of a text of its stream's updates."""
        size = self.bundle.vocabulary.size
        return TextScorer(text, size, unknown_logprob(self.bundle.manifest.training, size))

    def texts_to_score(
        self,
        texts: Sequence[str],
        prompt: str,
        *,
        skip: bool,
        ranks: bool = False,
        labels: Sequence[str] = (),
    ) -> list[TextToScore]:
        """Makes the request for each text to be scored; see `serving.engine.text_requests`.

        Raises:
            InvalidRequestError: a text, the prompt, or the labels cannot be used, or the bundle has no ranks.
        """
        if ranks and not self.has_ranks:
            raise InvalidRequestError([Violation("ranks", "are not in this bundle: export it again")])
        vocabulary = self.bundle.vocabulary
        return texts_to_score(
            texts,
            prompt,
            vocabulary,
            skip=skip,
            ranks=ranks,
            labels=find_labels(labels, vocabulary),
            delimiter=self.bundle.delimiter,
        )

    def engine(self, config: SchedulerConfig) -> Engine:
        """Returns a new engine with slots of its own."""
        runner = HostRunner(self.executor, Slots.needed(config.max_streams))
        return Engine(runner, self.bundle.vocabulary, config)


def check_exactness(bundle: Bundle, executor: Executor, largest: int) -> None:
    """Runs the self-check and sets the padding that it found.

    Raises:
        BatchInvarianceError: no batch size gives the bits of the others here.
    """
    size = bundle.vocabulary.size
    default, *others = executor.strategies
    text = np.random.default_rng(0).integers(0, size, 1000)
    subject = Subject(
        partial(executor.run_by, default),
        size,
        bundle.vocabulary.start,
        tuple(executor.state),
        others={f"computing {other.name}": partial(executor.run_by, other) for other in others},
        largest=largest,
        max_padding=largest if executor.device == "cuda" else MAX_PADDING,
    )
    executor.padding = check(subject, text).padding
