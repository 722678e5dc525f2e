"""The executor: the requested precision, and the same bits by every strategy."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.bundle import Bundle
from charloom.burst import FULL_OUTPUTS, INPUTS, Feeds, GraphKind, neutral, take
from charloom.errors import ConfigError
from charloom.execution_class import Precision
from serving.engine import executor as module
from serving.engine import sessions, strategies
from serving.engine.config import RunnerConfig
from serving.engine.executor import Executor, choose_precision, open_executor
from serving.engine.runner import PrecisionError, ProviderError, RunError
from serving.engine.strategies import cut, join
from tests.conftest import PRECISIONS, needs_int8
from tests.serving.conftest import in_two_lengths

KINDS = st.sampled_from(list(INPUTS))
SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def bundle(bundle_dir: Path) -> Bundle:
    return Bundle.open(bundle_dir)


def random_burst(executor: Executor, size: int, kind: GraphKind, rows: int, seed: int) -> Feeds:
    """A burst of rows that differ in all that this graph knows."""
    random = np.random.default_rng(seed)
    feeds = neutral(INPUTS[kind], B=rows, K=5, V=size, W=4, N=2)
    feeds["last"][:] = random.integers(0, size, rows)
    feeds["forced"][:] = random.integers(0, size, (5, rows))
    if kind != "read":
        feeds["forced_len"][:] = random.integers(0, 6, rows)
        feeds["uniform"][:] = random.random((5, rows))
        feeds["temperature"][:] = random.choice([0, 0.7, 1.2], (5, rows))
    if kind == "full":
        feeds["steps"][:] = random.integers(0, 6, rows)
        feeds["top_k"][:] = random.choice([0, 3], rows)
        feeds["allowed"][:] = random.random((rows, size)) < 0.9
        feeds["alternatives"][:] = random.random(rows) < 0.5
    for spec in executor.state:
        numbers = random.uniform(-1, 1, (rows, *spec.shape))
        encoded = np.round(numbers * 127) + 128 if spec.dtype == "uint8" else numbers
        feeds[spec.name] = encoded.astype(spec.dtype)
    return feeds


def same(found: Feeds, expected: Feeds) -> bool:
    assert found.keys() == expected.keys()
    return all(array.tobytes() == expected[name].tobytes() for name, array in found.items())


class Recording(Executor):
    """Notes how many rows each session got."""

    rows: list[int]

    def _run_padded(self, threads: int, kind: GraphKind, feeds: Feeds) -> Feeds:
        self.__dict__.setdefault("rows", []).append(len(feeds["last"]))
        return super()._run_padded(threads, kind, feeds)


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    held: Precision = request.param
    return held


@pytest.fixture(scope="module")
def whole(bundle: Bundle, precision: Precision) -> Executor:
    """Runs every burst in one piece, on one thread."""
    return Executor(bundle, "cpu", precision, threads=1)


@pytest.fixture(scope="module", params=[1, 2, 3])
def recording(bundle: Bundle, precision: Precision, request: pytest.FixtureRequest) -> Recording:
    """An executor of so many threads."""
    return Recording(bundle, "cpu", precision, request.param)


@in_two_lengths(12, 100)
def test_every_strategy_gives_the_same_bits(
    whole: Executor, recording: Recording, bundle: Bundle, cases: int
) -> None:
    @settings(max_examples=cases)
    @given(KINDS, st.integers(1, 40), SEEDS, st.sampled_from([1, 1, 4]))
    def check(kind: GraphKind, rows: int, seed: int, padding: int) -> None:
        recording.padding = padding
        feeds = random_burst(recording, bundle.vocabulary.size, kind, rows, seed)
        expected = whole.run(kind, feeds)
        for strategy in recording.strategies:
            recording.rows = []
            assert same(recording.run_by(strategy, kind, feeds), expected)
            assert len(recording.rows) == min(strategy.shards, rows)
            assert sum(recording.rows) == rows
        assert same(recording.run(kind, feeds), expected)

    check()


def test_a_burst_can_run_alone_in_shards_or_together(recording: Recording) -> None:
    names = [strategy.name for strategy in recording.strategies]
    assert names == (["together"] if recording.threads == 1 else ["alone", "in shards", "together"])


@pytest.mark.parametrize("kind", INPUTS)
def test_a_large_burst_is_cut_into_more_shards_than_threads(
    whole: Executor, bundle: Bundle, precision: Precision, kind: GraphKind
) -> None:
    executor = Recording(bundle, "cpu", precision, threads=2)
    feeds = random_burst(executor, bundle.vocabulary.size, kind, 300, 0)
    assert same(executor.run(kind, feeds), whole.run(kind, feeds))
    assert sorted(executor.rows) == [75, 75, 75, 75]


@pytest.mark.parametrize("kind", INPUTS)
def test_a_model_too_large_for_shards_has_the_same_bits(
    whole: Executor, bundle: Bundle, precision: Precision, kind: GraphKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "CACHED", 0)
    executor = Recording(bundle, "cpu", precision, threads=2)
    assert [strategy.name for strategy in executor.strategies] == ["together"]
    feeds = random_burst(executor, bundle.vocabulary.size, kind, 300, 0)
    assert same(executor.run(kind, feeds), whole.run(kind, feeds))
    assert executor.rows == [300]


@given(KINDS, st.integers(1, 50), st.integers(1, 8))
def test_shards_hold_every_row_once_and_in_order(kind: GraphKind, rows: int, count: int) -> None:
    feeds = neutral(INPUTS[kind], B=rows, K=3, V=4, W=2, N=1) | {"h_0": np.zeros((rows, 3), np.float32)}
    for name, array in feeds.items():
        feeds[name] = np.arange(array.size).reshape(array.shape)
    parts = cut(kind, feeds, min(count, rows))
    sizes = [len(part["last"]) for part in parts]
    assert sum(sizes) == rows
    assert max(sizes) - min(sizes) <= 1
    begin = 0
    for part, size in zip(parts, sizes, strict=True):
        assert same(part, take(feeds, INPUTS[kind], np.arange(begin, begin + size)))
        assert all(np.shares_memory(part[name], array) for name, array in feeds.items())
        begin += size


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), SEEDS)
def test_joined_shards_are_the_outputs_of_all(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = sum(sizes)
    outputs = {spec.name: random.random((3, rows, 2)[: len(spec.dims)]) for spec in FULL_OUTPUTS}
    outputs["h_0_out"] = random.random((rows, 4))
    edges = np.cumsum([0, *sizes])
    parts = [take(outputs, FULL_OUTPUTS, np.arange(edges[i], edges[i + 1])) for i in range(len(sizes))]
    assert same(join(parts), outputs)


def test_a_failure_in_any_shard_is_that_of_the_burst(bundle: Bundle, precision: Precision) -> None:
    executor = Executor(bundle, "cpu", precision, threads=2)
    (in_shards,) = (strategy for strategy in executor.strategies if strategy.shards == 2)
    for bad in (0, 9):
        feeds = random_burst(executor, bundle.vocabulary.size, "plain", 10, 0)
        feeds["last"][bad] = bundle.vocabulary.size + 1  # no row of any table
        with pytest.raises(RunError, match="onnxruntime"):
            executor.run_by(in_shards, "plain", feeds)
    feeds = random_burst(executor, bundle.vocabulary.size, "plain", 10, 0)
    assert executor.run("plain", feeds)["chosen"].shape == (5, 10)


def test_its_class_names_the_precision_and_the_padding(whole: Executor, precision: Precision) -> None:
    held = whole.execution_class
    assert (held.precision, held.provider, held.padding) == (precision, "cpu", 1)
    assert str(held).startswith(f"{precision}/cpu/onnxruntime-")


def holding(bundle: Bundle, *precisions: Precision) -> Bundle:
    """The bundle with the float graphs under these names: enough to choose among them."""
    variant = bundle.manifest.precisions["float32"]
    manifest = msgspec.structs.replace(bundle.manifest, precisions=dict.fromkeys(precisions, variant))
    return Bundle(bundle.path, manifest, bundle.digest, bundle.vocabulary)


BOTH: tuple[Precision, ...] = ("float32", "int8")


@pytest.fixture(params=[True, False], ids=["VNNI", "no VNNI"])
def vnni(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor that has it and one that has not."""
    has: bool = request.param
    monkeypatch.setattr(module, "multiplies_bytes", lambda: has)
    return has


@pytest.mark.parametrize("held", [BOTH, BOTH[:1], BOTH[1:]], ids="+".join)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_auto_takes_what_runs_well(
    bundle: Bundle, held: tuple[Precision, ...], device: Literal["cpu", "cuda"], vnni: bool
) -> None:
    chosen, remarks = choose_precision(holding(bundle, *held), device, RunnerConfig())
    well = "int8" if device == "cpu" and vnni else "float32"
    assert chosen == (well if well in held else held[0])
    if held == BOTH and device == "cpu" and not vnni:
        assert len(remarks) == 1
        assert "not in int8" in remarks[0]
        assert "VNNI" in remarks[0]
    else:
        assert remarks == []


@pytest.mark.parametrize("asked", BOTH)
@pytest.mark.usefixtures("vnni")
def test_what_is_asked_for_is_taken_wherever_it_runs(bundle: Bundle, asked: Precision) -> None:
    chosen = choose_precision(holding(bundle, *BOTH), "cpu", RunnerConfig(precision=asked))
    assert chosen == (asked, [])


@pytest.mark.parametrize("asked", BOTH)
def test_a_precision_that_the_bundle_has_not(bundle: Bundle, asked: Precision) -> None:
    (other,) = (precision for precision in BOTH if precision != asked)
    with pytest.raises(PrecisionError, match=f"small holds {other}, not {asked}"):
        open_executor(holding(bundle, other), RunnerConfig(device="cpu", precision=asked))


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("held", [BOTH, BOTH[1:]], ids="+".join)
def test_int8_is_refused_without_vnni(
    bundle: Bundle,
    held: tuple[Precision, ...],
    device: Literal["auto", "cpu"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it is asked for, and where there is nothing else."""
    monkeypatch.setattr(module, "multiplies_bytes", lambda: False)
    asked: Literal["auto", "int8"] = "int8" if held == BOTH else "auto"
    with pytest.raises(PrecisionError, match=r"cannot run in int8: .*VNNI"):
        open_executor(holding(bundle, *held), RunnerConfig(device, asked))


def test_int8_is_refused_on_cuda(bundle: Bundle) -> None:
    with pytest.raises(PrecisionError, match="on the CPU only"):
        open_executor(holding(bundle, *BOTH), RunnerConfig("cuda", "int8"))


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime without CUDA."""
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: [sessions.PROVIDERS["cpu"]])


@pytest.mark.usefixtures("cpu_only")
def test_auto_without_cuda_says_why_it_is_the_cpu(bundle: Bundle) -> None:
    executor, remarks = open_executor(bundle, RunnerConfig())
    assert (executor.device, executor.precision) == ("cpu", PRECISIONS[-1])
    assert [remark.split(":")[0] for remark in remarks] == ["not on CUDA"]


@needs_int8
@pytest.mark.usefixtures("cpu_only")
def test_auto_takes_the_cpu_for_a_bundle_of_int8_alone(bundle: Bundle) -> None:
    variant = bundle.manifest.precisions["int8"]
    manifest = msgspec.structs.replace(bundle.manifest, precisions={"int8": variant})
    alone = Bundle(bundle.path, manifest, bundle.digest, bundle.vocabulary)
    executor, _ = open_executor(alone, RunnerConfig())
    assert (executor.device, executor.precision) == ("cpu", "int8")


@pytest.mark.usefixtures("cpu_only")
def test_cuda_that_is_not_there(bundle: Bundle) -> None:
    with pytest.raises(ProviderError, match="serve-gpu"):
        open_executor(bundle, RunnerConfig(device="cuda"))


@pytest.mark.parametrize(("name", "value"), [("device", "gpu"), ("precision", "int4"), ("threads", -1)])
def test_an_unusable_configuration_names_its_option(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        RunnerConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*CUDAExecutionProvider")
def test_cuda_that_does_not_start_shows_before_any_burst(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An onnxruntime that has it, on a machine whose driver does not fit: only a session tells."""
    providers = list(sessions.PROVIDERS.values())
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: providers)
    with pytest.raises(ProviderError, match="did not start CUDA"):
        open_executor(bundle, RunnerConfig(device="cuda"))
    executor, remarks = open_executor(bundle, RunnerConfig())
    assert executor.device == "cpu"
    assert remarks[0].startswith("not on CUDA: onnxruntime did not start CUDA")
