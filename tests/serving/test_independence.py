"""Promise 1 on the engine, with a real bundle: company never changes a stream's bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.options import Sampling
from serving.engine.engine import Engine
from serving.engine.request import Request, Stream
from serving.engine.runner import RunnerConfig
from serving.engine.scheduler import SchedulerConfig
from serving.models import Model

PROMPTS = ("", "a", "The statement", "Съешь ", "for x in range(10):\n    print(x)\n" * 3, "👩‍🚀")
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0),
    Sampling(temperature=0.7),
    Sampling(temperature=1.5, top_k=5),
    Sampling(top_p=0.8),
    Sampling(min_p=0.1, top_k=40, top_p=0.95),
)


@dataclass(frozen=True)
class Guest:
    """One stream of a script: what it asks, when it comes, and whether and when it gives up."""

    prompt: str
    max_tokens: int
    sampling: Sampling
    seed: int
    stop: tuple[str, ...]
    arrives: int  # step
    stays: int | None  # steps until it cancels


GUESTS = st.builds(
    Guest,
    prompt=st.sampled_from(PROMPTS),
    max_tokens=st.integers(1, 60),
    sampling=st.sampled_from(SAMPLINGS),
    seed=st.integers(0, 3) | st.integers(0, 2**64 - 1),
    stop=st.sampled_from([(), (), ("e ",), ("the", "an")]),
    arrives=st.sampled_from([0, 0, 0, 1, 2, 5, 12]),
    stays=st.none() | st.none() | st.integers(0, 8),
)


@pytest.fixture(scope="module")
def model(bundle_dir: Path) -> Model:
    return Model.load(bundle_dir, RunnerConfig(device="cpu"))


def request_of(model: Model, guest: Guest) -> Request:
    prompt = model.bundle.vocabulary.encode(guest.prompt)
    return Request(prompt, guest.max_tokens, guest.seed, guest.sampling, guest.stop)


def texts(engine: Engine, script: Iterator[list[Stream]]) -> dict[Stream, str]:
    """Steps the engine until it is empty; before each step the script lets streams in."""
    out: dict[Stream, str] = {}
    for arrived in script:
        out.update(dict.fromkeys(arrived, ""))
        for update in engine.step().updates:
            assert update.error is None
            update.stream.consumed = update.stream.released
            out[update.stream] += update.text
    assert engine.empty
    assert engine.pool.used == 0
    return out


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)
@given(
    # Left to itself, hypothesis seldom draws a long list, and company is the point here.
    guests=st.sampled_from([1, 5, 25, 64]).flatmap(lambda n: st.lists(GUESTS, min_size=n, max_size=n)),
    slots=st.sampled_from([1, 16, 64, 64]),
    batch=st.sampled_from([2, 7, 32, 256]),
    burst=st.sampled_from([1, 3, 7, 16]),
)
def test_any_company_leaves_every_text_as_it_is_alone(
    model: Model, guests: list[Guest], slots: int, batch: int, burst: int
) -> None:
    config = SchedulerConfig(
        max_streams=slots, max_batch=batch, max_waiting=64, max_burst=burst, latency_budget=9
    )
    engine = model.engine(config)
    streams: dict[Stream, Guest] = {}

    def script() -> Iterator[list[Stream]]:
        step = 0
        while step <= max(guest.arrives for guest in guests) or not engine.empty:
            arrived = {engine.submit(request_of(model, g)): g for g in guests if g.arrives == step}
            streams.update(arrived)
            for stream, guest in streams.items():
                if guest.stays is not None and step >= guest.arrives + guest.stays:
                    engine.cancel(stream)
            yield list(arrived)
            step += 1

    together = texts(engine, script())
    for stream, guest in streams.items():
        alone = generate_alone(model, guest)
        if stream.cancelled:
            assert alone.startswith(together[stream])
        else:
            assert together[stream] == alone


def generate_alone(model: Model, guest: Guest) -> str:
    """The text of a stream that has the engine to itself, in bursts of another length."""
    engine = model.engine(SchedulerConfig(max_streams=1, max_waiting=0, max_burst=11, latency_budget=9))
    stream = engine.submit(request_of(model, guest))

    def script() -> Iterator[list[Stream]]:
        yield [stream]
        while not engine.empty:
            yield []

    return texts(engine, script())[stream]


def test_texts_differ_by_seed(model: Model) -> None:
    guests = [Guest("The ", 40, Sampling(), seed, (), 0, None) for seed in range(8)]
    assert len({generate_alone(model, guest) for guest in guests}) == 8
