"""What a burst is fed: each stream's own parameters, on the graph that it needs."""

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.burst import FULL_INPUTS, PLAIN_INPUTS
from charloom.options import GenerateOptions
from charloom.vocabulary import CharacterVocabulary
from serving.engine.batch import Batch
from serving.engine.request import prepare
from serving.engine.stream import Stream
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.serving.conftest import LoadOnce

LETTERS = CharacterVocabulary(ascii_lowercase)
EVERYTHING: dict[str, Any] = {
    "temperature": (0.5, 2),
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.01,
    "typical_p": 0.9,
    "repetition_penalty": 1.5,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "penalty_window": 4,
    "logit_bias": {"a": 3, "b": -3},
    "allowed_tokens": tuple("abcdefgh"),
    "forbidden_tokens": ("h",),
    "stop_tokens": ("c", "d"),
    "min_tokens": 6,
}


def stream(prompt: str = "abc", read: int | None = None, generated: str = "", **options: Any) -> Stream:
    """A stream that has read so much of its prompt, or all, and has generated a text."""
    request = prepare(prompt, GenerateOptions(**{"seed": 1} | options), LETTERS)
    made = Stream(request, LETTERS)
    made.advance(np.concatenate([request.prompt[:read], LETTERS.encode(generated)]))
    return made


def batch(*streams: Stream, steps: int = 8) -> Batch:
    return Batch(streams, steps, LETTERS)


@pytest.mark.parametrize("option", EVERYTHING.items(), ids=lambda option: option[0])
def test_the_full_graph_runs_only_where_an_option_needs_it(option: tuple[str, Any]) -> None:
    name, value = option
    plain = {"temperature", "penalty_window", "stop_tokens", "min_tokens"}
    assert batch(stream(), stream(**{name: value})).kind == ("plain" if name in plain else "full")


def test_the_full_graph_runs_only_where_a_filtered_row_samples() -> None:
    long = "a" * 20
    assert batch(stream(long, read=0, top_k=3), stream()).kind == "plain"
    assert batch(stream(long, read=0, top_k=3)).kind == "read"
    assert batch(stream(long, read=12, top_k=3)).kind == "read"
    assert batch(stream(long, read=13, top_k=3)).kind == "full"
    assert batch(stream(long, read=13)).kind == "plain"


def test_a_minimum_length_needs_the_full_graph_until_it_is_reached() -> None:
    options = {"stop_tokens": "z", "min_tokens": 3}
    assert [batch(stream(generated="a" * n, **options)).kind for n in (0, 2, 3)] == ["full", "full", "plain"]
    assert batch(stream(read=0, **options)).kind == "full"


def test_log_probabilities_need_the_full_graph() -> None:
    for logprobs in (0, 1):
        request = prepare("", GenerateOptions(), LETTERS, logprobs)
        assert batch(Stream(request, LETTERS)).kind == "full"


def test_a_row_of_everything_has_it_and_its_neighbour_is_neutral() -> None:
    feeds = batch(stream(), stream("xyz", generated="ab", **EVERYTHING), steps=3).feeds()
    assert set(feeds) == {spec.name for spec in FULL_INPUTS}
    ids = {letter: LETTERS.find(letter) for letter in ascii_lowercase}
    expected = {
        "position": 5,
        "generation_start": 3,
        "top_k": 20,
        "top_p": np.float32(0.9),
        "min_p": np.float32(0.01),
        "typical_p": np.float32(0.9),
        "recent": [ids[letter] for letter in "yzab"],
        "window": 4,
        "repetition_penalty": 1.5,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "bias_token": [ids[letter] for letter in "abcd"],
        "bias_value": [3, -3, -np.inf, -np.inf],
        "allowed": [letter in "abcdefg" for letter in ascii_lowercase],
    }
    for name, value in expected.items():
        assert np.array_equal(feeds[name][1], value), name
    assert feeds["bias_until"][1].tolist()[2:] == [6, 6]
    assert (feeds["bias_until"][1, :2] > 2**60).all()
    assert feeds["temperature"][:, 1].tolist() == [0.5, 2, 0.5]
    for spec in (spec for spec in FULL_INPUTS if spec not in PLAIN_INPUTS and spec.name != "steps"):
        if spec.name not in ("position", "generation_start"):
            assert (feeds[spec.name][0] == spec.neutral).all(), spec.name


@given(
    schedule=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    length=st.integers(0, 12),
    read=st.integers(0, 12),
    generated=st.integers(0, 12),
    steps=st.integers(1, 9),
)
def test_temperatures_take_turns_from_the_first_generated_token(
    schedule: list[int], length: int, read: int, generated: int, steps: int
) -> None:
    read = min(read, length)
    made = stream("a" * length, read, "a" * generated if read == length else "", temperature=schedule)
    feeds = batch(stream(temperature=100), made, steps=steps).feeds()
    assert (feeds["temperature"][:, 0] == 100).all()
    for step in range(steps):
        index = made.position + step - length
        if index >= 0:
            assert feeds["temperature"][step, 1] == schedule[index % len(schedule)]


@given(
    window=st.integers(1, 20),
    bursts=st.lists(st.text(ascii_lowercase, min_size=1, max_size=9), max_size=6),
    other=st.integers(1, 30),
)
def test_recent_are_the_newest_of_all_tokens(window: int, bursts: list[str], other: int) -> None:
    made = stream("", presence_penalty=1, penalty_window=window)
    for text in bursts:
        made.advance(LETTERS.encode(text))
    feeds = batch(made, stream(presence_penalty=1, penalty_window=other)).feeds()
    recent = LETTERS.encode("".join(bursts)[-window:])
    most = max(window, other)
    assert feeds["recent"].shape[1] == most
    assert feeds["recent"][0].tolist() == [-1] * (most - len(recent)) + recent.tolist()
    assert feeds["window"].tolist() == [window, other]


@pytest.fixture(scope="module")
def model(load_once: LoadOnce, bundle_dir: Path) -> Model:
    return load_once(bundle_dir, PRECISIONS[-1])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    window=st.integers(1, 70),
    wider=st.integers(1, 1024),
    biases=st.integers(0, 12),
    more=st.integers(0, 300),
    seed=st.integers(0, 99),
)
def test_the_windows_and_biases_of_others_change_no_bit(
    model: Model, window: int, wider: int, biases: int, more: int, seed: int
) -> None:
    vocabulary = model.bundle.vocabulary

    def one(prompt: str, window: int, biases: int) -> Stream:
        bias = [(token, (-1) ** token * 1.5) for token in range(min(biases, vocabulary.size))]
        options = {"repetition_penalty": 1.7, "frequency_penalty": 0.3, "penalty_window": window}
        request = prepare(prompt, GenerateOptions(seed=seed, logit_bias=bias, **options), vocabulary)
        made = Stream(request, vocabulary)
        made.advance(request.prompt)
        made.last = int(request.prompt[-1])
        return made

    def run(*streams: Stream) -> dict[str, bytes]:
        feeds = Batch(streams, 6, vocabulary).feeds()
        state = {spec.name: spec.initial_rows(len(streams)) for spec in model.executor.state}
        outputs = model.executor.run("full", feeds | state)
        per_row = {spec.output for spec in model.executor.state}
        return {n: (a[0] if n in per_row else a[:, 0]).tobytes() for n, a in outputs.items()}

    row = one("The statement of the tests", window, biases)
    assert run(row) == run(row, one("for x in range" * 80, wider, more))
