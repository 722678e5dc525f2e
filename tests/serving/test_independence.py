"""Promise 1 on the engine, with a real bundle: company never changes a stream's bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.options import GenerateOptions, seed_of
from charloom.tokens_config import TokensConfig
from charloom.vocabulary import Vocabulary
from export.sampler import SORTED
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request, find_labels, prepare
from serving.engine.sampled_tokens import concatenate
from serving.engine.stream import Stream
from serving.engine.token_rules import find
from serving.engine.update import Finish, Update
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.serving.conftest import LoadOnce, in_two_lengths
from tests.serving.records import LABELLED, record_model, token_model

PROMPTS = ("", "a", "The statement", "Съешь ", "for x in range(10):\n    print(x)\n" * 3, "👩‍🚀")
SEEDS = st.integers(0, 3) | st.integers(0, 2**64 - 1)
PLAIN = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 60), "seed": SEEDS},
    optional={
        "temperature": st.sampled_from([0, 0.7, (0.2, 1.5, 1)]),
        "stop": st.sampled_from(["e ", ("the", "an")]),
    },
)
"""What runs on the plain graph."""
FILTERS: dict[str, list[Any]] = {
    "top_k": [1, 5, 40],
    "top_p": [0.8, 0.95],
    "min_p": [0.1],
    "typical_p": [0.5, 0.9],
    "repetition_penalty": [1.3, 0.8],
    "frequency_penalty": [0.5, -1],
    "presence_penalty": [1],
    "penalty_window": [1, 7, 300],
    "logit_bias": [{"e": 2.5, " ": -1}, {"t": 100}, {}],
    "allowed_tokens": [tuple("etaoinshrdlu \n"), tuple(range(20, 90))],
    "forbidden_tokens": [" ", ("e", "t", 33)],
    "stop_tokens": ["\n", ("s", "x", " ")],
    "min_tokens": [1, 30],
}
FULL = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in FILTERS.items()})
"""What runs on the full graph, most of it."""


@dataclass(frozen=True)
class Guest:
    """One request of a script: what it asks, when it comes, and whether and when it gives up."""

    prompt: str
    options: dict[str, Any]
    filters: dict[str, Any]
    n: int
    logprobs: int | None
    arrives: int  # step
    stays: int | None  # steps until it cancels ...
    cancels: int  # ... this one of its texts, or all

    def request(self, model: Model) -> Request:
        options = GenerateOptions(**self.options | self.filters)
        if options.min_tokens > options.max_tokens:
            options = replace(options, min_tokens=0)
        vocabulary = model.bundle.vocabulary
        if vocabulary.end is not None or vocabulary.kind != "character":
            options = replace(options, **known_tokens(options, vocabulary))
        columns = vocabulary.ids.special.labels
        labels = [column.values[options.max_tokens % len(column.values)] for column in columns]
        known = find_labels(labels, vocabulary)
        return prepare(self.prompt, options, vocabulary, self.logprobs, labels=known)


def known_tokens(options: GenerateOptions, vocabulary: Vocabulary) -> dict[str, Any]:
    """The options that name tokens, without those that a vocabulary lacks; some ignore ends."""
    known = {
        name: tuple(token for token in tokens if find(token, vocabulary) is not None)
        for name, tokens in options.named_tokens.items()
    }
    if not set(known["allowed_tokens"]) - {*known["forbidden_tokens"], *known["stop_tokens"]}:
        known["allowed_tokens"] = ()  # nothing that is left could be chosen before a stop
    biases = tuple(pair for pair in options.logit_bias if pair[0] in known["logit_bias"])
    ignores = vocabulary.end is not None and options.max_tokens % 5 == 0
    return known | {"logit_bias": biases, "ignore_end": ignores}


GUESTS = st.builds(
    Guest,
    prompt=st.sampled_from(PROMPTS),
    options=PLAIN,
    filters=st.just({}) | FULL,
    n=st.sampled_from([1, 1, 1, 2, 3]),
    logprobs=st.sampled_from([None, None, None, 0, 3, 20]),
    arrives=st.sampled_from([0, 0, 0, 1, 2, 5, 12]),
    stays=st.none() | st.none() | st.integers(0, 8),
    cancels=st.integers(0, 3),
)


WORDS = "the cat sat, and the statement of an e or a x in range(10): \n s t e for them\n    print it\n" * 2
TOKENS = {"words": TokensConfig("words"), "bpe": TokensConfig("bpe", vocabulary_size=300)}
"""Models whose tokens are no characters."""


MANY = "etaoinshrdlux" + "".join(PROMPTS) + WORDS + "".join(map(chr, range(0x4E00, 0x4E00 + SORTED + 100)))
"""So many different characters that filters seek the last one that is kept, and do not sort all."""


@pytest.fixture(scope="module", params=[*PRECISIONS, "records", "many", *TOKENS])
def model(load_once: LoadOnce, bundle_dir: Path, request: pytest.FixtureRequest) -> Model:
    if request.param == "records":
        return record_model(LABELLED, threads=2)
    if request.param == "many":
        return token_model(TokensConfig(), MANY, threads=2)
    if request.param in TOKENS:
        return token_model(TOKENS[request.param], WORDS, threads=2)
    return load_once(bundle_dir, request.param, threads=2)


@dataclass(frozen=True)
class Outcome:
    """All that came of a stream, to the byte."""

    text: str = ""
    tokens: bytes = b""
    logprobs: bytes = b""
    alternatives: bytes = b""
    finish: Finish | None = None
    end_logprob: float | None = None

    def begins(self, other: "Outcome") -> bool:
        """Whether the other one may come of it, where it goes on."""
        return all(
            getattr(other, name).startswith(getattr(self, name))
            for name in ("text", "tokens", "logprobs", "alternatives")
        )


def outcome(updates: list[Update]) -> Outcome:
    if not updates:
        return Outcome()
    chosen = concatenate([update.sampled for update in updates])
    pairs = zip(chosen.top_tokens, chosen.top_logprobs, strict=True)
    return Outcome(
        text="".join(update.text for update in updates),
        tokens=chosen.tokens.tobytes(),
        logprobs=chosen.logprobs.tobytes(),
        alternatives=b"".join(tokens.tobytes() + logprobs.tobytes() for tokens, logprobs in pairs),
        finish=updates[-1].finish,
        end_logprob=updates[-1].end_logprob,
    )


def outcomes(engine: Engine, script: Iterator[list[Stream]]) -> dict[Stream, Outcome]:
    """Steps the engine until it is empty; before each step the script lets streams in."""
    updates: dict[Stream, list[Update]] = {}
    for arrived in script:
        updates.update({stream: [] for stream in arrived})
        for update in engine.step().updates:
            assert update.error is None
            update.stream.consumed = update.stream.released
            updates[update.stream].append(update)
    assert engine.empty
    assert engine.slots.used == engine.waiting == 0
    return {stream: outcome(of_stream) for stream, of_stream in updates.items()}


@in_two_lengths(4, 30)
def test_any_company_leaves_every_text_as_it_is_alone(model: Model, cases: int) -> None:
    @settings(max_examples=cases, suppress_health_check=[HealthCheck.large_base_example])
    @given(
        # Left to itself, hypothesis seldom draws a long list, and company is the point here.
        guests=st.sampled_from([5, 1, 20, 40]).flatmap(lambda n: st.lists(GUESTS, min_size=n, max_size=n)),
        slots=st.sampled_from([64, 64, 16, 1]),
        batch=st.sampled_from([32, 256, 7, 2]),
        burst=st.sampled_from([7, 16, 3, 1]),
    )
    def check(guests: list[Guest], slots: int, batch: int, burst: int) -> None:
        check_company(model, guests, slots, batch, burst)

    check()


def check_company(model: Model, guests: list[Guest], slots: int, batch: int, burst: int) -> None:
    """Whether the texts of some guests in one engine are those of each alone."""
    config = SchedulerConfig(
        max_streams=slots, max_batch=batch, max_waiting=120, max_burst=burst, latency_budget=9
    )
    engine = model.engine(config)
    streams: dict[Stream, tuple[Guest, int]] = {}

    def script() -> Iterator[list[Stream]]:
        step = 0
        while step <= max(guest.arrives for guest in guests) or not engine.empty:
            arrived = {
                stream: (guest, index)
                for guest in guests
                if guest.arrives == step
                for index, stream in enumerate(engine.submit_texts(guest.request(model), guest.n))
            }
            streams.update(arrived)
            for stream, (guest, index) in streams.items():
                late = guest.stays is not None and step >= guest.arrives + guest.stays
                if late and guest.cancels in (index, 3):
                    engine.abort(stream)
            yield list(arrived)
            step += 1

    together = outcomes(engine, script())
    for stream, (guest, index) in streams.items():
        alone = outcome_alone(model, guest, index)
        if stream.aborted:
            assert together[stream].begins(alone)
        else:
            assert together[stream] == alone


def outcome_alone(model: Model, guest: Guest, index: int = 0) -> Outcome:
    """What comes of a text that has the engine to itself, in bursts of another length."""
    engine = model.engine(SchedulerConfig(max_streams=1, max_waiting=0, max_burst=11, latency_budget=9))
    request = guest.request(model)
    stream = engine.submit(replace(request, seed=seed_of(request.seed, index)))

    def script() -> Iterator[list[Stream]]:
        yield [stream]
        while not engine.empty:
            yield []

    return outcomes(engine, script())[stream]


def test_texts_differ_by_seed(model: Model) -> None:
    guests = [Guest("The ", {"max_tokens": 40, "seed": seed}, {}, 1, 0, 0, None, 0) for seed in range(8)]
    assert len({outcome_alone(model, guest).text for guest in guests}) == 8
