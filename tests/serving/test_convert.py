"""Requests and responses across the wire: nothing is lost, nothing is read without a bound."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charloom.v1.charloom_pb2 as pb
from charloom.client import Alternative, Ending, NetworkInfo, Progress
from charloom.client.client import to_info
from charloom.client.message import to_message
from charloom.options import GenerateOptions, InvalidRequestError
from charloom.vocabulary import CharacterVocabulary
from serving.engine.config import RunnerConfig
from serving.engine.request import prepare
from serving.engine.sampled_tokens import SampledTokens, no_sampled_tokens
from serving.engine.stream import Stream
from serving.engine.update import Finish, Update
from serving.model import Model
from serving.rpc.convert import RequestLimits, text_count, to_model, to_options, to_request, to_response
from tests.serving.golden import FOLDER

LETTERS = CharacterVocabulary("abcd")
LIMITS = RequestLimits()
TOKENS = st.lists(st.integers(0, 2**32 - 1) | st.text(max_size=3), max_size=4)


def number(low: float, high: float, **more: Any) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32, **more)


OPTIONS = st.builds(
    GenerateOptions,
    temperature=st.lists(number(0, 100), min_size=1, max_size=4),
    top_k=st.integers(0, 2**32 - 1),
    top_p=number(0, 1, exclude_min=True),
    min_p=number(0, 1),
    typical_p=number(0, 1, exclude_min=True),
    repetition_penalty=number(2**-10, 2**10),
    frequency_penalty=number(-2, 2),
    presence_penalty=number(-2, 2),
    penalty_window=st.integers(1, 1024),
    logit_bias=st.lists(st.tuples(st.integers(0, 9) | st.text(max_size=2), number(-100, 100)), max_size=4),
    allowed_tokens=TOKENS,
    forbidden_tokens=TOKENS,
    max_tokens=st.integers(20, 2**32 - 1),
    min_tokens=st.integers(0, 20),
    seed=st.none() | st.integers(0, 2**64 - 1),
    stop=st.lists(st.text(min_size=1, max_size=4), max_size=3),
    stop_tokens=TOKENS,
    skip_unknown=st.booleans(),
)


@given(
    options=OPTIONS,
    prompt=st.text(max_size=5),
    n=st.integers(1, 2**32 - 1),
    logprobs=st.none() | st.integers(0, 20),
)
def test_every_option_crosses_the_wire(
    options: GenerateOptions, prompt: str, n: int, logprobs: int | None
) -> None:
    sent = to_message(prompt, options, n, logprobs)
    message = pb.GenerateRequest.FromString(sent.SerializeToString())
    assert to_options(message, LIMITS) == options
    assert message.prompt == prompt
    assert text_count(message) == n
    assert (message.logprobs if message.HasField("logprobs") else None) == logprobs


def test_what_is_absent_has_its_default() -> None:
    options = to_options(pb.GenerateRequest(), replace(LIMITS, default_tokens=7))
    assert options == GenerateOptions(max_tokens=7)
    assert text_count(pb.GenerateRequest()) == 1


def test_every_option_has_a_field_of_its_name() -> None:
    named = {field.name for field in pb.GenerateRequest.DESCRIPTOR.fields}
    assert named >= {field.name for field in fields(GenerateOptions)}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.GenerateRequest(n=0), "n"),
        (pb.GenerateRequest(n=129), "n"),
        (pb.GenerateRequest(logprobs=21), "logprobs"),
        (pb.GenerateRequest(max_tokens=1_000_001), "max_tokens"),
        (pb.GenerateRequest(min_tokens=257), "min_tokens"),
        (pb.GenerateRequest(prompt="a" * 1_000_001), "prompt"),
        (pb.GenerateRequest(stop_tokens=[pb.Token()]), "stop_tokens"),
        (pb.GenerateRequest(logit_bias=[pb.LogitBias(bias=1)]), "logit_bias"),
        (pb.GenerateRequest(temperature=[float("nan")]), "temperature"),
    ],
)
def test_what_is_unusable_is_named(message: pb.GenerateRequest, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        to_request(message, LETTERS, LIMITS)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_no_more_of_a_flood_of_tokens_is_read_than_shows_that_it_is_one() -> None:
    flood = [pb.Token(id=1)] * 300_000
    options = to_options(pb.GenerateRequest(allowed_tokens=flood, stop_tokens=flood), LIMITS)
    assert (len(options.allowed_tokens), len(options.stop_tokens)) == (16385, 65)
    assert {v.field for v in options.violations()} == {"allowed_tokens", "stop_tokens"}


def test_a_response_holds_what_was_asked_for_and_the_client_reads_it() -> None:
    request = prepare("ab", GenerateOptions(), LETTERS)
    stream = Stream(request, LETTERS)
    stream.released = 2
    chosen = SampledTokens(
        np.array([1, 2]),
        np.array([-0.5, -1], np.float32),
        np.array([[1, 0], [3, 2]]),
        np.array([[-0.5, -2], [-0.25, -1]], np.float32),
    )
    update = Update(stream, ["b", "c"], chosen, position=4, finish=Finish.STOP)
    asked = pb.GenerateRequest(token_ids=True, logprobs=2)
    progress = Progress()
    piece = progress.take(to_response(asked, 3, update, LETTERS), 3)
    assert (piece.text, piece.index, piece.position, piece.token_ids) == ("bc", 3, 4, [1, 2])
    assert piece.logprobs == [-0.5, -1]
    assert piece.alternatives == [
        [Alternative(1, "b", -0.5), Alternative(0, "a", -2)],
        [Alternative(3, "d", -0.25), Alternative(2, "c", -1)],
    ]
    assert progress.endings == {3: Ending("stop", prompt_tokens=2, generated_tokens=2)}
    assert progress.finish is None
    bare = to_response(pb.GenerateRequest(), 0, update, LETTERS)
    assert [*bare.token_ids, *bare.logprobs, *bare.alternatives] == []
    last = to_response(asked, 0, replace(update, sampled=no_sampled_tokens(), texts=[]), LETTERS)
    assert not last.token_ids
    assert last.HasField("finish")


def test_a_model_is_described_with_its_network() -> None:
    model = Model.load(FOLDER / "gru", RunnerConfig("cpu", "float32", threads=1), largest_batch=8)
    info = to_info(pb.Model.FromString(to_model(model).SerializeToString()))
    assert info.name == "golden-gru"
    assert info.network == NetworkInfo(
        kind="recurrent",
        version=1,
        config={"cell": "gru", "layers": 2, "cells": 8, "embedding": 4},
        parameters=model.bundle.manifest.architecture.parameters,
        description="GRU, 2 x 8 cells, embedding 4",
    )
    assert type(info.network.config["cells"]) is int
    assert info.state_bytes == 2 * 8 * 4


def test_a_config_of_any_plain_values_goes_over_the_wire() -> None:
    config = {"rate": 0.5, "wide": True, "name": "tree", "depth": -3, "nothing": None}
    message = pb.Model(network=pb.Network(kind="tree"))
    message.network.config.update(config)
    assert to_info(message).network.config == config
