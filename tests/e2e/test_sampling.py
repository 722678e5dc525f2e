"""Every sampler, from a client, through a real server."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.client import AsyncClient, Client, RequestError
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub
from serving.local import LocalModel
from tests.e2e.conftest import metric

Serve = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [
    {"temperature": (0.1, 1.5, 0.7)},
    {"top_k": 5, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9},
    {"repetition_penalty": 1.4, "penalty_window": 300},
    {"frequency_penalty": 0.7, "presence_penalty": -0.3, "penalty_window": 12},
    {"logit_bias": {"e": 4, " ": -2.5, 7: 1}},
    {"allowed_tokens": tuple("aeiou \n"), "forbidden_tokens": ("u",)},
    {"stop_tokens": (" ", "e"), "min_tokens": 25},
    {"stop": ("e", "th"), "min_tokens": 10},
]
EVERYTHING = {
    name: value for options in OPTIONS[1:-1] for name, value in options.items() if name != "allowed_tokens"
}


def test_a_server_gives_the_texts_of_this_process_whatever_the_sampler(
    serve_all: Serve, local: LocalModel
) -> None:
    server = serve_all()
    common = {"max_tokens": 60, "seed": 11}
    with Client(server.address) as client:
        for options in [*OPTIONS, EVERYTHING]:
            [expected] = local.generate("The ", **common | options)
            generation = client.generate("The ", **common | options)
            assert generation.text() == expected
            if "allowed_tokens" in options:
                assert set(expected) <= set("aeio \n")
            if "stop_tokens" in options:
                assert generation.finish == "stop"
                assert len(expected) >= 25
                assert not set(expected[25:]) & {" ", "e"}
            if "stop" in options:
                assert "e" in expected[:10]
                assert "e" not in expected[10:]


def test_several_texts_of_one_prompt_are_those_of_their_seeds(serve: Serve, local: LocalModel) -> None:
    server = serve("--max-streams", "3")
    common = {"max_tokens": 80, "temperature": [0.5, 1], "presence_penalty": 0.4, "stop_tokens": "\n"}
    first = 2**64 - 3

    async def ask() -> list[str]:
        async with AsyncClient(server.address) as client:
            generation = client.generate("The statement ", n=7, seed=first, **common)
            texts = await generation.texts()
            assert generation.seed == first
            assert sorted(generation.endings) == list(range(7))
            assert generation.prompt_tokens == 14
            assert generation.generated_tokens == sum(map(len, texts))
            return texts

    texts = asyncio.run(ask())
    assert len(set(texts)) == 7
    with Client(server.address) as client:
        for i, text in enumerate(texts):
            assert client.generate("The statement ", seed=(first + i) % 2**64, **common).text() == text
        several = client.generate("The statement ", n=7, seed=first, **common)
        assert several.texts() == texts
    assert local.generate("The statement ", n=7, seed=first, **common) == texts
    # Read once for each of the two calls for seven texts, and for each of the seven single ones.
    assert metric(server, "charloom_prompt_tokens_total") == 14 * (2 + 7)
    with Client(server.address) as client, pytest.raises(ValueError, match="7 texts"):
        client.generate("a", n=7).text()


def test_every_token_can_come_with_its_alternatives(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client:
        greedy = list(client.generate("The ", temperature=0, max_tokens=40, logprobs=20).pieces())
        wild = {"temperature": 5, "seed": 2, "max_tokens": 40, "stop": ("zzzz",), "repetition_penalty": 2}
        pieces = list(client.generate("The ", logprobs=3, token_ids=True, **wild).pieces())
        plain = list(client.generate("The ", logprobs=0, **wild).pieces())
    places = [place for piece in greedy for place in piece.alternatives]
    assert len(places) == 40
    assert all(len(place) == 20 for place in places)
    assert "".join(place[0].text for place in places) == "".join(piece.text for piece in greedy)
    chosen = [value for piece in greedy for value in piece.logprobs]
    assert [place[0].logprob for place in places] == chosen
    for place in places:
        assert [a.logprob for a in place] == sorted((a.logprob for a in place), reverse=True)
        assert len({a.token_id for a in place}) == 20
    for piece in pieces:
        assert len(piece.alternatives) == len(piece.logprobs) == len(piece.token_ids)
        for token, logprob, place in zip(piece.token_ids, piece.logprobs, piece.alternatives, strict=True):
            known = {a.token_id: a.logprob for a in place}
            assert known.get(token, logprob) == logprob
            assert token in known or min(known.values()) >= logprob
    assert [v for p in plain for v in p.logprobs] == [v for p in pieces for v in p.logprobs]
    assert not any(piece.alternatives for piece in plain)


BAD: dict[str, list[dict[str, Any]]] = {
    "n": [{"n": 0}, {"n": 129}],
    "seed": [],
    "temperature": [{"temperature": [0.5, -1]}, {"temperature": [101]}, {"temperature": [1] * 65}],
    "top_k": [],
    "top_p": [{"top_p": 0}, {"top_p": float("nan")}],
    "min_p": [{"min_p": 1.5}],
    "typical_p": [{"typical_p": 0}, {"typical_p": 1.01}],
    "repetition_penalty": [{"repetition_penalty": 0}, {"repetition_penalty": 2000}],
    "frequency_penalty": [{"frequency_penalty": 2.5}],
    "presence_penalty": [{"presence_penalty": -2.5}],
    "penalty_window": [{"penalty_window": 0}, {"penalty_window": 1025}],
    "max_tokens": [{"max_tokens": 1_000_001}],
    "min_tokens": [{"min_tokens": 300}, {"min_tokens": 1, "allowed_tokens": "a", "stop_tokens": "a"}],
    "logit_bias": [
        {"logit_bias": [("a", 101)]},
        {"logit_bias": [("☃", 1)]},
        {"logit_bias": [("a", 1), ("a", 2)]},
        {"logit_bias": [(i % 100, 1) for i in range(301)]},
    ],
    "allowed_tokens": [{"allowed_tokens": ["ab"]}, {"allowed_tokens": ["a"] * 16385}],
    "forbidden_tokens": [{"forbidden_tokens": [99_999]}, {"forbidden_tokens": "a", "allowed_tokens": "a"}],
    "stop_tokens": [{"stop_tokens": [""]}, {"stop_tokens": ["a"] * 65}],
    "stop": [{"stop": [""]}, {"stop": ["a"] * 17}, {"stop": ["a" * 257]}],
    "logprobs": [{"logprobs": 21}],
    "prompt": [{"prompt": "☃"}],
}


def message(options: dict[str, Any]) -> pb.GenerateRequest:
    """A request as a client sends it that checks nothing."""
    made = dict(options)
    for name in {"allowed_tokens", "forbidden_tokens", "stop_tokens"} & set(made):
        made[name] = [token(name) for name in made[name]]
    made["logit_bias"] = [pb.LogitBias(token=token(n), bias=b) for n, b in made.get("logit_bias", [])]
    return pb.GenerateRequest(**made)


def token(name: int | str) -> pb.Token:
    return pb.Token(text=name) if isinstance(name, str) else pb.Token(id=name)


def test_each_bad_value_is_refused_by_the_name_of_its_field(serve_all: Serve) -> None:
    server = serve_all()
    with grpc.insecure_channel(server.address) as channel:
        stub = CharloomServiceStub(channel)
        for field, cases in BAD.items():
            for case in cases:
                with pytest.raises(grpc.RpcError) as caught:
                    list(stub.Generate(message(case)))
                error = RequestError.of(caught.value)
                assert error.code is grpc.StatusCode.INVALID_ARGUMENT, case
                assert [violation.field for violation in error.violations] == [field], case
        assert list(stub.Generate(pb.GenerateRequest(max_tokens=3)))[-1].finish.generated_tokens == 3


def every_place_is_free(client: Client) -> bool:
    try:
        return len(client.generate("a", n=12, max_tokens=3).texts()) == 12
    except RequestError as error:
        if error.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        time.sleep(0.05)
        return False


def test_texts_that_nobody_waits_for_any_longer_leave_nothing_behind(serve: Serve) -> None:
    server = serve("--max-streams", "4", "--max-waiting", "8")
    endless = {"n": 12, "max_tokens": 900_000, "prompt": "The " * 5000}
    with Client(server.address) as client:
        for wait in (False, True, False):
            generation = client.generate(**endless)
            pieces = generation.pieces()
            next(pieces)  # every place is taken
            if wait:
                next(pieces)  # and the prompt read
            with pytest.raises(RequestError, match="RESOURCE_EXHAUSTED"):
                client.generate("a").text()
            generation.cancel()
            assert any(every_place_is_free(client) for _ in range(200))
        with pytest.raises(RequestError, match="INVALID_ARGUMENT: n must be at most 12 here, not 13"):
            client.generate("a", n=13).texts()
        with pytest.raises(RequestError, match="DEADLINE_EXCEEDED"):
            client.generate(**endless, timeout=0.3).texts()
