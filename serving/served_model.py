"""Served models: one model while it is served, with its engine, health and metrics."""

from pathlib import Path

from charloom.bundle import Bundle
from serving.engine.async_engine import AsyncEngine
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.engine.engine import StepReport
from serving.engine.executor import Executor
from serving.metrics import Metrics, ModelMetrics
from serving.model import Model


class ServedModel:
    """Loads, starts and stops one model, and reports how it is."""

    def __init__(self, model: Model, scheduling: SchedulerConfig, metrics: Metrics) -> None:
        self.model = model
        self.metrics = ModelMetrics(metrics, model.name)
        self.engine = AsyncEngine(model.engine(scheduling), model.name, self._observe)
        self.alive = True
        """Whether bursts advance, as of the last health check."""

    @classmethod
    def load(
        cls, path: str | Path, running: RunnerConfig, scheduling: SchedulerConfig, metrics: Metrics
    ) -> "ServedModel":
        """Loads a bundle; `Model.load` says what it raises."""
        return cls(Model.load(path, running, scheduling.largest_batch), scheduling, metrics)

    @property
    def name(self) -> str:
        """Name by which requests ask for it."""
        return self.model.name

    @property
    def bundle(self) -> Bundle:
        """Its bundle."""
        return self.model.bundle

    @property
    def executor(self) -> Executor:
        """What runs its bursts."""
        return self.model.executor

    @property
    def ready(self) -> bool:
        """Whether requests should be sent to it."""
        return self.alive and not self.engine.thread.failing

    def start(self) -> None:
        """Starts its engine and exports its metrics; must be called in the event loop."""
        engine = self.engine.engine
        self.metrics.watch(lambda: engine.slots.used, lambda: engine.waiting, engine.slots.capacity)
        self.metrics.describe(
            self.bundle.manifest.version,
            self.bundle.digest,
            self.executor.precision,
            str(self.executor.execution_class),
        )
        self.engine.start()

    async def stop(self) -> None:
        """Stops its engine, whose streams end with an error, and removes its metrics."""
        await self.engine.stop()
        self.metrics.close()

    def check_health(self, patience: float) -> None:
        """Updates `alive`, and fails all streams if it is not; patience in seconds a burst."""
        self.alive = self.engine.check_health(patience)

    def _observe(self, report: StepReport) -> None:
        if report.steps:
            self.metrics.count_burst(report.rows, report.steps, report.seconds, report.read, report.generated)
