"""Sessions are opened when they first run, each once, and of no graph that was altered meanwhile."""

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from charloom.bundle import Bundle
from charloom.burst import INPUTS, Feeds, GraphKind, neutral
from charloom.manifest import BundleError
from serving.engine import sessions as module
from serving.engine.executor import Executor
from serving.engine.runner import ProviderError, RunError
from serving.engine.sessions import Sessions
from tests.serving.golden import FOLDER


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(shutil.copytree(FOLDER / "lstm", tmp_path / "lstm"))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[GraphKind, int]]:
    """Counts the sessions that are opened, by graph and threads."""
    counts: Counter[tuple[GraphKind, int]] = Counter()
    really = module.open_session

    def open_session(bundle: Bundle, precision: Any, kind: GraphKind, device: Any, threads: int) -> Any:
        counts[kind, threads] += 1
        return really(bundle, precision, kind, device, threads)

    monkeypatch.setattr(module, "open_session", open_session)
    return counts


def burst(bundle: Bundle, kind: GraphKind, rows: int = 1) -> Feeds:
    """A burst of fresh streams."""
    feeds = neutral(INPUTS[kind], B=rows, K=2, V=bundle.vocabulary.size, W=1, N=1)
    state = bundle.manifest.precisions["float32"].state
    return feeds | {spec.name: spec.initial_rows(rows) for spec in state}


def test_a_session_is_opened_when_it_first_runs(
    bundle: Bundle, opened: Counter[tuple[GraphKind, int]]
) -> None:
    sessions = Sessions(bundle, "cpu", "float32")
    assert not opened
    for _ in range(3):
        sessions.run("read", 1, burst(bundle, "read"))
    assert opened == {("read", 1): 1}
    sessions.run("read", 2, burst(bundle, "read"))
    sessions.run("plain", 1, burst(bundle, "plain"))
    assert opened == {("read", 1): 1, ("read", 2): 1, ("plain", 1): 1}


def test_shards_that_need_it_at_the_same_time_open_it_once(
    bundle: Bundle, opened: Counter[tuple[GraphKind, int]]
) -> None:
    sessions = Sessions(bundle, "cpu", "float32")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: sessions.run("plain", 1, burst(bundle, "plain")), range(16)))
    assert opened == {("plain", 1): 1}
    assert len({outputs["chosen"].tobytes() for outputs in found}) == 1


@pytest.mark.parametrize("kind", INPUTS)
def test_a_graph_that_was_altered_after_the_bundle_was_opened_is_refused(
    bundle: Bundle, kind: GraphKind
) -> None:
    """At the same size, so that only its digest tells: the file is read again when its session opens."""
    executor = Executor(bundle, "cpu", "float32", threads=1)
    path = bundle.path / bundle.manifest.precisions["float32"].graphs[kind].file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=f"{path}: was altered"):
        executor.run(kind, burst(bundle, kind))
    others = [other for other in INPUTS if other != kind]
    assert all(executor.run(other, burst(bundle, other)) for other in others)


def test_a_bundle_of_other_inputs_is_refused_before_any_session_opens(
    bundle: Bundle, opened: Counter[tuple[GraphKind, int]]
) -> None:
    graph = bundle.manifest.precisions["float32"].graphs["full"]
    graph.inputs.pop()
    with pytest.raises(BundleError, match="exported by another version"):
        Sessions(bundle, "cpu", "float32")
    assert not opened


def test_a_graph_that_onnxruntime_cannot_load_is_the_fault_of_its_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = onnx.ModelProto(ir_version=10).SerializeToString()
    monkeypatch.setattr(Bundle, "graph", lambda *_: empty)
    with pytest.raises(ProviderError, match="cannot load the graph on cpu"):
        Sessions(bundle, "cpu", "float32").open("read", 1)


def test_what_onnxruntime_cannot_run_is_an_error_of_the_burst(bundle: Bundle) -> None:
    feeds = burst(bundle, "read") | {"last": np.array([bundle.vocabulary.size + 1])}  # no row of any table
    with pytest.raises(RunError, match="onnxruntime"):
        Sessions(bundle, "cpu", "float32").run("read", 1, feeds)
