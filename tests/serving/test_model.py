"""Loading checks a bundle on this hardware: one that is not batch-invariant there is not served."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from charloom.batch_invariance import BatchInvarianceError
from charloom.burst import Feeds, GraphKind
from charloom.execution_class import Precision
from serving.engine import executor as module
from serving.engine import strategies
from serving.engine.config import RunnerConfig
from serving.engine.executor import Executor
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.serving.golden import FOLDER

Rows = Callable[[GraphKind, Feeds], bool | npt.NDArray[np.bool_]]
Load = Callable[..., Model]


@pytest.fixture(params=PRECISIONS)
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Loads a bundle on a runner that is off by the least bit in the rows that `when` finds."""
    precision: Precision = request.param

    def make(when: Rows = lambda kind, feeds: False, threads: int = 1, path: Path = FOLDER / "lstm") -> Model:
        class Broken(Executor):
            def _run_padded(self, threads: int, kind: GraphKind, feeds: Feeds) -> Feeds:
                outputs = super()._run_padded(threads, kind, feeds)
                rows = np.broadcast_to(when(kind, feeds), len(feeds["last"]))
                outputs["c_0_out"][rows] = np.nextafter(outputs["c_0_out"][rows], np.float32(np.inf))
                return outputs

        monkeypatch.setattr(module, "Executor", Broken)
        return Model.load(path, RunnerConfig("cpu", precision, threads))

    return make


@pytest.mark.parametrize("threads", [1, 2])
def test_a_real_runner_is_exact(load: Load, bundle_dir: Path, threads: int) -> None:
    model = load(threads=threads, path=bundle_dir)
    verification = model.bundle.manifest.precisions[model.executor.precision].verification
    assert model.executor.padding == verification["padding"]
    assert str(model.executor.execution_class) == verification["execution_class"]


def test_small_batches_that_differ_are_padded_from_then_on(load: Load) -> None:
    model = load(lambda kind, feeds: len(feeds["last"]) < 6)
    assert model.executor.padding == 6
    assert str(model.executor.execution_class).endswith("/pad6")


def by_size(kind: GraphKind, feeds: Feeds) -> bool:
    return len(feeds["last"]) < 200


def by_neighbour(kind: GraphKind, feeds: Feeds) -> npt.NDArray[np.bool_]:
    """The rows after those that read an even token."""
    return np.append(False, feeds["forced"][0, :-1] % 2 == 0)


def by_place(kind: GraphKind, feeds: Feeds) -> npt.NDArray[np.bool_]:
    return np.arange(len(feeds["last"])) % 4 == 3


def by_length(kind: GraphKind, feeds: Feeds) -> bool:
    return len(feeds["forced"]) < 4


def by_reading(kind: GraphKind, feeds: Feeds) -> bool:
    return kind == "read"


def by_filters_beside_it(kind: GraphKind, feeds: Feeds) -> bool:
    return kind == "full" and bool((feeds["top_k"] > 0).any())


def by_thread(kind: GraphKind, feeds: Feeds) -> bool:
    return threading.current_thread() is not threading.main_thread()


@pytest.mark.parametrize(
    ("when", "what"),
    [
        (by_size, "differ from larger ones"),
        (by_neighbour, "row order changes c_0_out"),
        (by_place, "row order changes c_0_out"),
        (by_length, "a burst split in two changes"),
        (by_reading, "reading without scores changes c_0_out"),
        (by_filters_beside_it, "a plain row beside filtered ones changes c_0_out"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_runner_whose_bits_depend_on_something_else_is_not_served(
    load: Load, when: Rows, what: str
) -> None:
    with pytest.raises(BatchInvarianceError, match=what):
        load(when)


class PromptPool(ThreadPoolExecutor):
    """A pool whose threads take every task before the caller can take it back."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        while not (future.running() or future.done()):
            time.sleep(0.001)
        return future


def test_a_thread_that_computes_other_bits_is_found(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "ThreadPoolExecutor", PromptPool)
    with pytest.raises(BatchInvarianceError, match="computing in shards changes c_0_out"):
        load(by_thread, threads=2)
    with pytest.raises(BatchInvarianceError, match="computing in shards changes c_0_out"):
        load(lambda kind, feeds: kind == "read" and by_thread(kind, feeds), threads=2)
    assert load(by_thread, threads=1).executor.padding >= 1
