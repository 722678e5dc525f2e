"""Labels: a record under some begins in their state, alone or in company, and says so wherever it goes on."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.bundle import Bundle
from charloom.options import GenerateOptions, InvalidRequestError
from charloom.vocabulary import no_tokens
from serving.commands.labels import chosen_labels
from serving.engine import fresh_states
from serving.engine.config import SchedulerConfig
from serving.engine.request import Request, find_labels, prepare
from serving.engine.runner import RunError
from serving.engine.snapshot import Labels
from serving.engine.update import Finish
from serving.errors import BurstError
from serving.local import LocalModel
from serving.model import Model
from tests.serving.conftest import AlphabetRunner, WrappedRunner
from tests.serving.in_process import connected
from tests.serving.records import ENDING, LABELLED, record_bundle, record_model
from tests.serving.test_ends import Z_ENDS
from tests.serving.test_ends import make_engine as make_fake
from tests.serving.test_engine import drain
from tests.serving.test_snapshot import chosen, run, same, text, together

ALL = [(tone, size) for tone in ("calm", "loud") for size in ("s", "m", "l")]


@pytest.fixture(scope="module")
def model() -> Model:
    return record_model(LABELLED)


@pytest.fixture(scope="module")
def local(model: Model) -> LocalModel:
    made = LocalModel.__new__(LocalModel)
    made.model = model
    return made


def ids(model: Model, labels: tuple[str, ...]) -> Labels:
    return find_labels(labels, model.bundle.vocabulary)


def request(model: Model, labels: tuple[str, ...], seed: int = 1, **options: Any) -> Request:
    chosen_options = GenerateOptions(seed=seed, **{"max_tokens": 60} | options)
    return prepare("a", chosen_options, model.bundle.vocabulary, 0, labels=ids(model, labels))


def test_a_record_begins_in_the_state_after_its_labels(model: Model) -> None:
    labels = ids(model, ("loud", "m"))
    (fresh,) = run(model, Request(no_tokens(), 0, 0, labels=labels, returns_state=True))
    assert fresh.snapshot is not None
    assert (fresh.snapshot.position, fresh.snapshot.last) == (0, model.bundle.vocabulary.start)
    assert fresh.snapshot.labels == labels
    state = {spec.name: spec.initial_rows(1) for spec in model.executor.state}
    for label in labels:
        feeds = {"last": np.array([label]), "forced": np.zeros((1, 1), np.int64)}
        outputs = model.executor.run("read", feeds | state)
        state = {spec.name: outputs[spec.output] for spec in model.executor.state}
    for name, tensor in state.items():
        assert fresh.snapshot.state[name].tobytes() == tensor.tobytes()


@pytest.mark.parametrize("kept", [1024, 1])
def test_every_text_is_that_of_its_labels_whoever_stands_beside_it(
    model: Model, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(fresh_states, "MAX_STATES", kept)
    requests = [request(model, labels, returns) for labels in ALL for returns in (1, 2)]
    found = together(model, requests, burst=5)
    alone = [run(model, one) for one in requests]
    assert [text(u) for u in found] == [text(u) for u in alone]
    assert [chosen(u).logprobs.tobytes() for u in found] == [chosen(u).logprobs.tobytes() for u in alone]
    assert len({text(u) for u in found}) > 2, "labels matter"


def test_few_states_are_kept_and_those_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_states, "MAX_STATES", 2)
    runner = AlphabetRunner()
    states = fresh_states.FreshStates(runner, 9, Z_ENDS.start)
    for label, bursts in ((1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4)):
        states.set(0, (label, 7))
        assert len(runner.bursts) == bursts
        assert runner.steps_run[0] == 2
        assert len(states._states) <= 2
    states.set(0, ())
    assert runner.steps_run[0] == 0


def test_a_state_that_cannot_be_computed_fails_its_stream_alone() -> None:
    class Failing(WrappedRunner):
        def run(self, kind: Any, feeds: Any, slots: Any) -> Any:
            if slots == [8]:
                raise RunError("no state")
            return self.inner.run(kind, feeds, slots)

    engine = make_fake(Failing(AlphabetRunner()))  # type: ignore[arg-type]
    labelled = engine.submit(Request(no_tokens(), 5, 0, labels=(27,)))
    other = engine.submit(Request(no_tokens(), 5, 0))
    updates = drain(engine)
    assert isinstance(updates[labelled][-1].error, BurstError)
    assert updates[other][-1].finish is Finish.LENGTH
    assert engine.slots.used == 0


def test_the_next_record_has_the_labels_of_the_former(model: Model) -> None:
    labels = ("calm", "l")
    end = model.bundle.vocabulary.end
    assert end is not None
    (fresh,) = run(model, Request(no_tokens(), 0, 0, labels=ids(model, labels), returns_state=True))
    written = run(model, replace(request(model, labels, max_tokens=500), returns_state=True))
    assert written[-1].finish is Finish.END
    (read,) = run(model, Request(np.array([3, 4, end]), 0, 0, labels=ids(model, labels), returns_state=True))
    for last in (written[-1].snapshot, read.snapshot):
        assert last is not None
        assert fresh.snapshot is not None
        assert same(replace(last, position=0), fresh.snapshot)


def test_scores_tell_the_labels_of_a_record(local: LocalModel) -> None:
    records = {labels: local.generate(n=20, labels=labels, max_tokens=200, seed=3) for labels in ALL}
    likeliest = []
    for labels, texts in records.items():
        scores = {other: local.score(texts, labels=other) for other in ALL}
        for index in range(len(texts)):
            likeliest.append(max(ALL, key=lambda other: scores[other][index].logprob) == labels)
    assert sum(likeliest) / len(likeliest) > 0.22  # of random weights; by chance it were a sixth


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ((), r"the model takes 2 labels \(tone: 'calm', 'loud'; size: 's', 'm', 'l'\), not 0"),
        (("calm",), "not 1"),
        (("calm", "xl"), "size 'xl' is none that the model knows: 's', 'm', 'l'"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(
    local: LocalModel, labels: tuple[str, ...], reason: str
) -> None:
    for call in (
        lambda: local.generate("a", labels=labels),
        lambda: local.score(["a"], labels=labels),
        lambda: local.embed(["a"], labels=labels),
    ):
        with pytest.raises(InvalidRequestError, match=reason):
            call()


def test_a_model_without_labels_takes_none() -> None:
    with pytest.raises(InvalidRequestError, match="the model takes no labels, not 1"):
        find_labels(["calm"], record_model(ENDING).bundle.vocabulary)


async def served(model: Model, ask: Callable[[Any], Any]) -> Any:
    async with connected(model, SchedulerConfig(max_streams=4)) as (stub, _):
        return await ask(stub)


def test_labels_on_the_wire(model: Model) -> None:
    async def ask(stub: Any) -> None:
        info = (await stub.GetModel(pb.GetModelRequest())).model
        assert info.ends
        assert info.delimiter == model.bundle.delimiter == "\n\n"
        assert [(c.name, list(c.values)) for c in info.labels] == [
            ("tone", ["calm", "loud"]),
            ("size", ["s", "m", "l"]),
        ]
        asked = pb.GenerateRequest(labels=["loud", "s"], seed=4, max_tokens=9, ignore_end=True)
        asked.return_state, asked.state_interval = True, 3
        whole = [r async for r in stub.Generate(asked)]
        said = "".join(r.text for r in whole)
        assert len(said) == 9
        tokens = [r.state.token for r in whole if r.HasField("state")]
        ahead = [r async for r in stub.Generate(pb.GenerateRequest(state=tokens[-1], seed=5, max_tokens=30))]
        assert ahead[-1].HasField("finish")
        with pytest.raises(Exception, match="labels must be absent: the state has its own"):
            _ = [r async for r in stub.Generate(pb.GenerateRequest(state=tokens[-1], labels=["loud", "s"]))]
        with pytest.raises(Exception, match="labels cannot be used: the model takes 2 labels"):
            _ = [r async for r in stub.Generate(pb.GenerateRequest(prompt="a"))]
        for open_with in (pb.Open(labels=["loud", "s"]), pb.Open(state=tokens[0])):
            call = stub.Converse()
            await call.write(pb.ConverseRequest(open=open_with))
            assert (await call.read()).HasField("opened")
            generate = pb.GenerateRequest(seed=4, max_tokens=9, ignore_end=True)
            await call.write(pb.ConverseRequest(generate=generate))
            heard = ""
            while not (event := await call.read()).generated.HasField("finish"):
                heard += event.generated.text
            if open_with.labels:
                assert heard + event.generated.text == said
            generate.labels.append("calm")
            await call.write(pb.ConverseRequest(generate=generate))
            assert "labels must be absent" in (await call.read()).failed.message
            call.cancel()
        scored = [r async for r in stub.Score(pb.ScoreRequest(texts=["aa"], labels=["calm", "s"]))]
        assert "".join(t for r in scored for t in r.token_texts) == "aa"
        embedded = await stub.Embed(pb.EmbedRequest(texts=["aa"], labels=["calm", "s"]))
        assert len(embedded.embeddings) == 1

    asyncio.run(served(model, ask))


COLUMNS = {"tone": ["calm", "loud"], "size": ["s", "m", "l"]}


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ([], []),
        (["calm", "s"], ["calm", "s"]),
        (["size=s", "calm"], ["calm", "s"]),
        (["calm", "size=a=b"], ["calm", "a=b"]),
        (["x=y", "s"], ["x=y", "s"]),
    ],
)
def test_labels_of_a_command_are_named_or_in_order(words: list[str], labels: list[str]) -> None:
    assert chosen_labels(words, lambda: COLUMNS) == labels


@pytest.mark.parametrize(
    ("words", "columns", "reason"),
    [
        (["calm"], COLUMNS, r"one value for each of the model's labels \(tone: calm, loud; size: s, m, l\)"),
        (["tone=calm", "tone=loud"], COLUMNS, "names tone twice"),
        (["calm"], {}, "the model has no labels"),
    ],
)
def test_labels_of_a_command_that_do_not_fit(words: list[str], columns: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        chosen_labels(words, lambda: columns)


@pytest.mark.parametrize(
    ("records", "delimiter"),
    [
        ({"records": "lines"}, "\n"),
        ({"records": "paragraphs", "text_column": ""}, "\n\n"),
        ({"records": r"\n<|x|>\\n"}, "\n<|x|>\\n"),
        ({"records": "none"}, None),
        ({"records": "none", "text_column": "tweet"}, None),
        ({"records": 3}, None),
        ("lines", None),
        (None, None),
    ],
)
def test_a_delimiter_in_a_prompt_is_refused_by_name(records: Any, delimiter: str | None) -> None:
    bundle: Bundle = record_bundle(ENDING, training={"text": {"records": records}}, precisions=["float32"])
    assert bundle.delimiter == delimiter
    text = f"a{delimiter}b"
    for skip in (False, True):
        options = GenerateOptions(skip_unknown=skip)
        if delimiter is None:
            prepare(text, options, bundle.vocabulary, delimiter=bundle.delimiter)
            continue
        with pytest.raises(InvalidRequestError) as caught:
            prepare(text, options, bundle.vocabulary, delimiter=bundle.delimiter)
        [violation] = caught.value.violations
        assert violation.field == "prompt"
        assert repr(delimiter) in violation.reason
        assert "one record at a time" in violation.reason


def test_a_delimiter_is_refused_in_every_call_but_in_a_text_to_score() -> None:
    model = record_model(ENDING)
    made = LocalModel.__new__(LocalModel)
    made.model = model

    async def ask(stub: Any) -> None:
        call = stub.Converse()
        await call.write(pb.ConverseRequest(open=pb.Open()))
        await call.read()
        await call.write(pb.ConverseRequest(feed=pb.Feed(text="a\n\nb")))
        assert "text has '\\n\\n', which comes between" in (await call.read()).failed.message
        call.cancel()
        for call in (
            stub.Generate(pb.GenerateRequest(prompt="\n\n")),
            stub.Score(pb.ScoreRequest(texts=["a"], prompt="\n\n")),
        ):
            with pytest.raises(Exception, match="one record at a time"):
                _ = [r async for r in call]

    asyncio.run(served(model, ask))
    with pytest.raises(InvalidRequestError, match=r"texts\[0\] has '\\n\\n'"):
        made.embed(["\n\n"])
    refused, plain = made.score(["a\n\nb", "ab"])
    assert refused.logprob < plain.logprob
