"""Models: bundles made ready to run, and found by name.

It knows bundles and engines; it speaks no protocol.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from charloom.bundle import Bundle
from charloom.errors import CharloomError
from charloom.exactness import LARGEST, MOST_PADDING, Subject, check
from charloom.options import InvalidRequestError, Violation
from serving.engine.engine import Engine
from serving.engine.runner import Runner, RunnerConfig, open_runner
from serving.engine.scheduler import SchedulerConfig
from serving.errors import UnknownModelError

logger = logging.getLogger(__name__)


class DuplicateModelError(CharloomError):
    """Two bundles have the same name."""

    exit_code = 2

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"two bundles have the same name: {', '.join(names)}; export one with another --name"
        )


class Model:
    """One bundle on one device, proven exact there."""

    def __init__(self, bundle: Bundle, runner: Runner) -> None:
        self.bundle = bundle
        self.runner = runner

    @classmethod
    def load(cls, path: str | Path, config: RunnerConfig, largest_batch: int = LARGEST) -> "Model":
        """Opens a bundle and proves on this hardware that its streams do not touch each other.

        Raises:
            BundleError: the bundle is not whole.
            DeviceError: the device cannot be used.
            PrecisionError: the precision cannot be had.
            ExactnessError: no batch size gives the bits of the others here.
        """
        bundle = Bundle.open(path)
        runner, remarks = open_runner(bundle, config)
        for remark in remarks:
            logger.info("model %s runs %s", bundle.name, remark)
        prove(bundle, runner, largest_batch)
        return cls(bundle, runner)

    @property
    def name(self) -> str:
        """Name by which requests ask for it."""
        return self.bundle.name

    def engine(self, config: SchedulerConfig) -> Engine:
        """A new engine over it, with a state pool of its own."""
        return Engine(self.runner, self.bundle.vocabulary, self.runner.state, config)


def prove(bundle: Bundle, runner: Runner, largest: int) -> None:
    """Runs the self-check and gives the runner the padding that it found."""
    size = bundle.vocabulary.size
    usual, *others = runner.ways
    text = np.random.default_rng(0).integers(0, size, 1000)
    subject = Subject(
        partial(runner.run_in, usual),
        size,
        bundle.vocabulary.start,
        tuple(runner.state),
        others={f"computing {way.name}": partial(runner.run_in, way) for way in others},
        largest=largest,
        most_padding=largest if runner.device == "cuda" else MOST_PADDING,
    )
    runner.padding = check(subject, text).padding


class Models:
    """Everything that is served, by name."""

    def __init__(self, models: Sequence[Model]) -> None:
        """Takes at least one model.

        Raises:
            DuplicateModelError: two have the same name.
        """
        assert models, "there is a model to serve"
        self._models = {model.name: model for model in models}
        if len(self._models) != len(models):
            raise DuplicateModelError([model.name for model in models])

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def find(self, name: str) -> Model:
        """The model of this name; the only one for no name.

        Raises:
            UnknownModelError: there is none.
            InvalidRequestError: there are several, and no name.
        """
        if not name and len(self._models) == 1:
            return next(iter(self))
        if not name:
            reason = f"must name one of the models that are served: {', '.join(self._models)}"
            raise InvalidRequestError([Violation("model", reason)])
        if name not in self._models:
            raise UnknownModelError(name, list(self._models))
        return self._models[name]
