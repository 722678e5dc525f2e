"""The host runner: a state of any type stays in its slot, and is saved, restored and copied to the bit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.burst import INPUTS, OUTPUTS, Feeds, GraphKind, StateSpec, neutral
from serving.engine.executor import Executor
from serving.engine.host_runner import HostRunner
from serving.engine.runner import RunError, Runner
from serving.engine.snapshot import State
from tests.conftest import PRECISIONS
from tests.serving.conftest import LoadOnce, in_two_lengths
from tests.serving.golden import CELLS, FOLDER

SLOTS = 6
DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int32", "int64", "bool")
SPECS = st.lists(
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(1, 3), max_size=3), st.integers(0, 1)),
    min_size=1,
    max_size=3,
).map(lambda found: [StateSpec(f"s{i}", d, tuple(shape), first) for i, (d, shape, first) in enumerate(found)])
VERBS = st.lists(
    st.tuples(
        st.sampled_from(["reset", "run", "run", "copy", "snapshot", "restore", "restore"]),
        st.lists(st.integers(0, SLOTS - 1), min_size=2, max_size=SLOTS, unique=True),
        st.integers(0, 2**32),
    ),
    max_size=20,
)


class Scrambler:
    """Replaces the state of each row by bits that depend on those before, and on its token."""

    def __init__(self, specs: Sequence[StateSpec]) -> None:
        self.state = specs

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        if (feeds["last"] < 0).any():
            raise RunError("injected")
        outputs: Feeds = {"chosen": feeds["forced"]}
        for spec in self.state:
            rows = [
                scrambled(spec, row, token)
                for row, token in zip(feeds[spec.name], feeds["last"].tolist(), strict=True)
            ]
            outputs[spec.output] = np.stack(rows)
        return outputs


def scrambled(spec: StateSpec, row: np.ndarray[Any, Any], token: int) -> np.ndarray[Any, Any]:
    """The next state of a row: any bits, NaNs and the extremes of int64 among them."""
    random = np.random.default_rng([*row.tobytes(), token])
    if spec.dtype == "bool":
        return random.random(spec.shape) < 0.5
    return np.frombuffer(random.bytes(spec.nbytes), spec.dtype).reshape(spec.shape)


def fresh(specs: Sequence[StateSpec]) -> State:
    return {spec.name: spec.initial_rows(1) for spec in specs}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(
        (one[name].dtype, one[name].shape, one[name].tobytes()) == (array.dtype, array.shape, array.tobytes())
        for name, array in other.items()
    )


@in_two_lengths(50, 300)
def test_slots_hold_what_a_table_of_states_holds(cases: int) -> None:
    @settings(max_examples=cases)
    @given(specs=SPECS, verbs=VERBS)
    def check(specs: list[StateSpec], verbs: list[tuple[str, list[int], int]]) -> None:
        function = Scrambler(specs)
        runner: Runner = HostRunner(function, SLOTS)
        expected = [fresh(specs) for _ in range(SLOTS)]
        saved: list[tuple[State, State]] = []  # as the runner gave it, and as it has to stay
        for slot in range(SLOTS):
            runner.reset(slot)
        for verb, slots, number in verbs:
            first, second = slots[:2]
            match verb:
                case "reset":
                    runner.reset(first)
                    expected[first] = fresh(specs)
                case "copy":
                    runner.copy(first, second)
                    expected[second] = expected[first]
                case "snapshot":
                    saved.append((runner.snapshot(first), expected[first]))
                case "restore" if saved:
                    state, known = saved[number % len(saved)]
                    runner.restore(first, state)
                    expected[first] = known
                case "run":
                    last = (np.arange(len(slots)) + number).astype(np.int64)
                    feeds = {"last": last, "forced": last[None]}
                    outputs = runner.run("read", feeds, slots)
                    assert outputs.keys() == {"chosen"}
                    for row, slot in enumerate(slots):
                        alone = {
                            name: array[row : row + 1] for name, array in feeds.items() if name == "last"
                        }
                        found = function.run(
                            "read", alone | {"forced": last[None, row : row + 1]} | expected[slot]
                        )
                        expected[slot] = {spec.name: found[spec.output] for spec in specs}
            assert all(same(runner.snapshot(slot), expected[slot]) for slot in range(SLOTS))
            assert all(same(state, known) for state, known in saved), "a snapshot is a copy"

    check()


@in_two_lengths(20, 100)
def test_a_burst_that_fails_leaves_every_slot_as_it_was(cases: int) -> None:
    @settings(max_examples=cases)
    @given(specs=SPECS)
    def check(specs: list[StateSpec]) -> None:
        runner = HostRunner(Scrambler(specs), 3)
        for slot in range(3):
            runner.reset(slot)
        tokens = np.array([4, 5])
        runner.run("read", {"last": tokens, "forced": tokens[None]}, [2, 0])
        before = [runner.snapshot(slot) for slot in range(3)]
        with pytest.raises(RunError):
            runner.run("read", {"last": np.array([1, -1]), "forced": tokens[None]}, [0, 1])
        assert all(same(runner.snapshot(slot), state) for slot, state in enumerate(before))

    check()


@pytest.fixture(
    scope="module", params=[(cell, precision) for cell in CELLS for precision in PRECISIONS], ids="-".join
)
def executor(load_once: LoadOnce, request: pytest.FixtureRequest) -> Executor:
    cell, precision = request.param
    return load_once(FOLDER / cell, precision).executor


@settings(deadline=None, max_examples=20)
@given(
    read=st.lists(st.integers(0, 20), min_size=1, max_size=9),
    slots=st.permutations(range(SLOTS)),
    kind=st.sampled_from(list(INPUTS)),
    seed=st.integers(0, 2**32),
)
def test_a_stream_goes_on_alike_from_its_slot_a_copy_and_a_snapshot(
    executor: Executor, read: list[int], slots: list[int], kind: GraphKind, seed: int
) -> None:
    runner, elsewhere = HostRunner(executor, SLOTS), HostRunner(executor, 1)
    own, copied, restored = slots[:3]
    runner.reset(own)
    runner.run("read", {"last": np.array([0]), "forced": np.array([read]).T}, [own])
    runner.copy(own, copied)
    runner.restore(restored, runner.snapshot(own))
    elsewhere.restore(0, runner.snapshot(own))
    feeds = neutral(INPUTS[kind], B=1, K=5, V=25, W=1, N=1)
    feeds["last"][:] = read[-1]
    random = np.random.default_rng(seed)
    feeds["forced"][:] = random.integers(0, 25, (5, 1))
    if kind != "read":
        feeds["uniform"][:] = random.random((5, 1))
    if kind == "full":
        feeds["steps"][:] = 5
    runs = [(runner, own), (runner, copied), (runner, restored), (elsewhere, 0)]
    found = [(each.run(kind, feeds, [slot]), each.snapshot(slot)) for each, slot in runs]
    # The golden bundles were exported before there were ranks.
    assert found[0][0].keys() == {spec.name for spec in OUTPUTS[kind]} - {"rank"}
    for outputs, state in found[1:]:
        assert same(outputs, found[0][0])
        assert same(state, found[0][1])
