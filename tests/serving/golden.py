"""What the golden bundles are asked, and the file of what they answered.

The bundles lie in `tests/golden/`, and beside them `texts.json`. `tools/golden.py` makes both. This
file knows how to ask and how answers are written down, and nothing of how the bundles were made.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charloom.execution_class import Precision
from charloom.options import GenerateOptions
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.host_runner import BurstFunction, HostRunner
from serving.engine.request import prepare
from serving.engine.slots import Slots
from serving.engine.stream import Stream
from serving.engine.update import Update
from serving.model import Model
from tests.serving.test_independence import outcome

FOLDER = Path(__file__).parents[1] / "golden"
TEXTS = FOLDER / "texts.json"
CELLS = ("lstm", "gru", "rnn")
Answer = dict[str, str]
"""One text, how it ended, and what was asked for of its tokens, as the hexadecimal digits of its bytes."""
Answers = dict[str, list[Answer]]
"""By case: the answers to n texts."""
Recorded = dict[str, dict[str, Answers]]
"""By place (an execution class, or everywhere) and cell."""


class Case(NamedTuple):
    """One request."""

    options: Mapping[str, Any]
    prompt: str = ""
    n: int = 1
    logprobs: int | None = None


GREEDY = {"temperature": 0, "max_tokens": 20}
LONG = "a ship sails, привет 🎉\n" * 9
"""A prompt of several bursts."""
EVERYWHERE: dict[str, Case] = {
    "greedy": Case(GREEDY, "a"),
    "greedy after a long prompt": Case(GREEDY, LONG),
    "the likeliest token alone": Case({"top_k": 1, "max_tokens": 20, "seed": 5}, " sail"),
    "one allowed token": Case({"allowed_tokens": "🚀", "max_tokens": 9, "seed": 1}),
    "a token that is wanted above all": Case({"logit_bias": {"и": 100}, "max_tokens": 9, "seed": 1}, "a"),
    "stop string after a minimum": Case(
        {"allowed_tokens": "e", "stop": ("eee", "ee"), "min_tokens": 6, "seed": 1}
    ),
    "stop token after a minimum": Case(
        GREEDY | {"logit_bias": {"t": 100}, "stop_tokens": "t", "min_tokens": 7}, "blue"
    ),
    "forbidden tokens": Case(GREEDY | {"forbidden_tokens": tuple("aeiou \n")}, "the 🚀"),
    "texts by their seeds": Case({"max_tokens": 6, "seed": 2**64 - 2}, "a", n=3),
}
"""What depends on integers and on wide margins alone, so that it holds on every machine."""

SAMPLED = {"max_tokens": 40, "seed": 7}
FILTERS: dict[str, dict[str, Any]] = {
    "top_k": {"top_k": 4},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.7},
    "all filters": {"temperature": 1.5, "top_k": 12, "min_p": 0.03, "typical_p": 0.8, "top_p": 0.7},
    "repetition_penalty": {"repetition_penalty": 1.4, "penalty_window": 30},
    "frequency_penalty": {"frequency_penalty": 0.6, "penalty_window": 30},
    "presence_penalty": {"presence_penalty": -0.8, "penalty_window": 3},
    "logit_bias": {"logit_bias": {"e": 1.5, " ": -2, "🎉": 2.25}},
    "allowed_tokens": {"allowed_tokens": tuple("aeinost привет🚀"), "forbidden_tokens": "т"},
    "min_tokens": {"stop_tokens": tuple("aeиn"), "min_tokens": 12},
    "stop": {"stop": ("t", "🎉", "ae", "пр"), "min_tokens": 5},
}
BY_CLASS: dict[str, Case] = {
    "temperature": Case(SAMPLED),
    "temperatures in turns": Case(SAMPLED | {"temperature": (0.3, 1, 2)}, "ship"),
    "several texts": Case(SAMPLED | {"temperature": 0.8, "max_tokens": 80}, "the ", n=4),
    "several texts, penalised": Case(SAMPLED | {"presence_penalty": 0.5}, "привет", n=3, logprobs=0),
    "alternatives": Case(SAMPLED | {"max_tokens": 12}, "a ", logprobs=5),
    **{name: Case(SAMPLED | options, "the ", logprobs=0) for name, options in FILTERS.items()},
    "everything": Case(
        SAMPLED
        | FILTERS["all filters"]
        | FILTERS["repetition_penalty"]
        | FILTERS["logit_bias"]
        | {"frequency_penalty": 0.3, "presence_penalty": 0.2, "forbidden_tokens": "a", "top_k": 20},
        "a ship",
        logprobs=3,
    ),
}
"""What depends on the last bits, so that it holds within an execution class."""


def everywhere(precision: Precision) -> str:
    """The place of what holds on every machine that runs this precision."""
    return f"{precision}, everywhere"


def ask(
    model: Model, cases: Mapping[str, Case], function: BurstFunction | None = None, **config: float
) -> Answers:
    """Asks for all of these at once."""
    settings: dict[str, Any] = {"max_streams": 64, "max_waiting": 64, "latency_budget": 9} | config
    runner = HostRunner(function or model.executor, Slots.needed(64))
    engine = Engine(runner, model.bundle.vocabulary, SchedulerConfig(**settings))
    streams: dict[str, list[Stream]] = {}
    for name, case in cases.items():
        options = GenerateOptions(**case.options)
        request = prepare(case.prompt, options, model.bundle.vocabulary, case.logprobs)
        streams[name] = engine.submit_texts(request, case.n)
    updates: dict[Stream, list[Update]] = defaultdict(list)
    while not engine.empty:
        for update in engine.step().updates:
            assert update.error is None
            update.stream.consumed = update.stream.released
            updates[update.stream].append(update)
    return {
        name: [answer(cases[name], updates[stream]) for stream in streams_of_case]
        for name, streams_of_case in streams.items()
    }


def answer(case: Case, updates: list[Update]) -> Answer:
    """One answer as it is written down."""
    found = outcome(updates)
    assert found.finish is not None
    written = {"text": found.text, "finish": found.finish.value}
    if case.logprobs is not None:
        written["logprobs"] = found.logprobs.hex()
    if case.logprobs:
        written["alternatives"] = found.alternatives.hex()
    return written


def read_texts() -> tuple[dict[str, str], Recorded]:
    """The digests of the bundles that were asked, by cell, and what they answered."""
    data = json.loads(TEXTS.read_text("utf-8"))
    return data["bundles"], data["answers"]


def write_texts(bundles: dict[str, str], answers: Recorded) -> None:
    """Writes the file."""
    data = {"bundles": bundles, "answers": answers}
    TEXTS.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", "utf-8")
