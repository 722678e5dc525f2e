"""Attempts of a model in this process are the texts that the engine generates, whatever the batch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.options import GenerateOptions, seed_of
from charloom.vocabulary import Tokens
from serving.engine.config import SchedulerConfig
from serving.engine.request import find_labels, prepare
from serving.local import run
from serving.model import Model
from serving.offline.burst_length import BurstLength
from serving.offline.local_source import LocalSource
from tests.conftest import PRECISIONS
from tests.serving.conftest import LoadOnce, in_two_lengths
from tests.serving.golden import FOLDER
from tests.serving.records import ENDING, LABELLED, record_model

ATTEMPTS = 24
OPTIONS: dict[str, dict[str, Any]] = {
    "temperature": {},
    "temperatures in turns": {"temperature": (0.5, 1.5)},
    "filters and penalties": {"top_k": 5, "repetition_penalty": 1.2, "penalty_window": 3},
    "stop strings": {"stop": ("ea", "t"), "min_tokens": 2},
    "stop tokens": {"stop_tokens": "e"},
    "a minimum": {"min_tokens": 9},
    "no end": {"ignore_end": True, "logit_bias": {"e": 2}},
    "allowed tokens": {"allowed_tokens": tuple("aeh t"), "temperature": 1.3},
}


def texts_of_engine(
    model: Model, options: dict[str, Any], prompt: str, labels: tuple[str, ...], numbers: range
) -> list[tuple[str, bool]]:
    """The texts of these attempts, and whether anything but their length ended them."""
    vocabulary = model.bundle.vocabulary
    requests = [
        prepare(
            prompt,
            GenerateOptions(**options | {"seed": seed_of(options["seed"], number)}),
            vocabulary,
            labels=find_labels(labels, vocabulary),
        )
        for number in numbers
    ]
    engine = model.engine(SchedulerConfig(max_streams=len(requests), max_waiting=len(requests)))
    texts, ended = [""] * len(requests), [False] * len(requests)
    for index, update in run(engine, engine.submit_all(requests)):
        texts[index] += update.text
        ended[index] = update.finish is not None and update.finish.value != "length"
    return list(zip(texts, ended, strict=True))


class DrawnLength(BurstLength):
    """Bursts of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.draw = np.random.default_rng(1)

    def choose(self, ages: Tokens, left: Tokens) -> int:
        return int(self.draw.integers(1, max(2, int(left.max()) + 1)))


def attempts_of(
    model: Model, options: dict[str, Any], prompt: str, labels: tuple[str, ...], numbers: range, batch: int
) -> list[tuple[str, bool]]:
    vocabulary = model.bundle.vocabulary
    request = prepare(prompt, GenerateOptions(**options), vocabulary, labels=find_labels(labels, vocabulary))
    source = LocalSource(model, request, batch)
    found = [attempt for some in source.attempts(numbers) for attempt in some]
    assert [attempt.number for attempt in found] == list(numbers)
    assert source.can_end or not any(attempt.ended for attempt in found)
    return [(attempt.text, attempt.ended) for attempt in found]


@pytest.mark.parametrize("labels", [(), ("loud", "s")])
@pytest.mark.parametrize("options", OPTIONS)
@in_two_lengths(2, 30)
def test_attempts_are_texts_of_the_engine(
    options: str, labels: tuple[str, ...], cases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.offline.local_source.BurstLength", DrawnLength)
    model = record_model(LABELLED if labels else ENDING)

    @given(
        st.integers(0, 2**64 - 1),
        st.sampled_from(["", "the ", "x" * 300]),
        st.integers(1, 9),
        st.sampled_from([1, 3, 64]),
        st.integers(1, 30),
    )
    @settings(max_examples=cases, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def check(seed: int, prompt: str, step: int, batch: int, most: int) -> None:
        given_options = {"seed": seed, "max_tokens": most} | OPTIONS[options]
        given_options["max_tokens"] = max(most, given_options.get("min_tokens", 0))
        numbers = range(step - 1, step * ATTEMPTS, step)
        found = attempts_of(model, given_options, prompt, labels, numbers, batch)
        assert found == texts_of_engine(model, given_options, prompt, labels, numbers)

    check()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_continuous_texts_are_as_long_as_they_may_be(cell: str, precision: Any, load_once: LoadOnce) -> None:
    model = load_once(FOLDER / cell, precision)
    options = {"seed": 1, "max_tokens": 30}
    found = attempts_of(model, options, "a ship", (), range(20), 8)
    assert found == texts_of_engine(model, options, "a ship", (), range(20))
    assert {len(text) for text, _ in found} == {30}


def test_few_tokens_wait_for_an_attempt_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.offline.local_source.MAX_PENDING", 20)
    model, options = record_model(ENDING), {"seed": 4, "max_tokens": 200}
    found = attempts_of(model, options, "", (), range(60), 8)
    assert found == texts_of_engine(model, options, "", (), range(60))


def test_what_was_computed_is_counted() -> None:
    model = record_model(ENDING)
    request = prepare("", GenerateOptions(seed=1, max_tokens=50), model.bundle.vocabulary)
    source = LocalSource(model, request, 16)
    tokens = sum(attempt.tokens for some in source.attempts(range(300)) for attempt in some)
    assert tokens < source.computed < 4 * tokens
