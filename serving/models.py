"""Models: bundles made ready to run, and found by name.

It knows bundles and engines; it speaks no protocol.
"""

import logging
from collections.abc import Container, Iterator, Sequence
from copy import copy
from functools import partial
from pathlib import Path

import numpy as np

from charloom.batch_invariance import LARGEST, MAX_PADDING, Subject, check
from charloom.bundle import Bundle
from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from serving.engine.engine import Engine
from serving.engine.runner import Runner, RunnerConfig, open_runner
from serving.engine.scheduler import SchedulerConfig
from serving.errors import ForbiddenModelError, UnknownModelError

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
            BatchInvarianceError: no batch size gives the bits of the others here.
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
        max_padding=largest if runner.device == "cuda" else MAX_PADDING,
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
        self._allowed: Container[str] | None = None
        if len(self._models) != len(models):
            raise DuplicateModelError([model.name for model in models])

    def __iter__(self) -> Iterator[Model]:
        return (model for model in self._models.values() if self._may_see(model.name))

    def among(self, names: Container[str] | None) -> "Models":
        """The same as somebody sees it who may use those of these names, or all for None."""
        seen = copy(self)
        seen._allowed = names
        return seen

    def find(self, name: str) -> Model:
        """The model of this name; the only one for no name.

        Raises:
            UnknownModelError: there is none.
            ForbiddenModelError: it is not to be seen, whether there is one or not.
            InvalidRequestError: there are several, and no name.
        """
        models = {model.name: model for model in self}
        if name and not self._may_see(name):
            raise ForbiddenModelError(name)
        if not name and len(models) == 1:
            [name] = models
        if not name:
            reason = f"must name one of the models that are served: {', '.join(models) or 'none to you'}"
            raise InvalidRequestError([Violation("model", reason)])
        if name not in models:
            raise UnknownModelError(name, list(models))
        return models[name]

    def _may_see(self, name: str) -> bool:
        return self._allowed is None or name in self._allowed
