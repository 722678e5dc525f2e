"""Conversations, command by command: whatever was done, each branch stands where its tokens lead.

Commands are drawn at random; the test keeps no more than each branch's tokens. In the end the state of
every branch must be, to the bit, that of a stream that read these tokens at once; and so must that of
another server's conversation that goes on from a state token.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charloom.v1.charloom_pb2 as pb
from charloom.bundle import Bundle
from charloom.vocabulary import Tokens
from serving.engine.config import SchedulerConfig
from serving.engine.history import History, Tail
from serving.engine.request import Request
from serving.engine.snapshot import Snapshot
from serving.metrics import Metrics
from serving.model import Model
from serving.models import Models
from serving.rpc.branch import ConversationContext
from serving.rpc.conversation import ConversationCall
from serving.rpc.encoding import EncodingThread
from serving.rpc.limits import ConversationLimits, RequestLimits
from serving.rpc.resolver import Resolver
from serving.rpc.security.sealing import Key, Sealer
from serving.served_model import ServedModel
from tests.charloom.vocabulary.byte_pairs import BytePairVocabulary
from tests.conftest import PRECISIONS
from tests.serving.conftest import LoadOnce, in_two_lengths
from tests.serving.golden import CELLS, FOLDER
from tests.serving.test_snapshot import run, same

SEALER = Sealer([Key("a", bytes(32))], lifetime=0)
HISTORY = 60
APART = 16


@pytest.fixture(scope="module", autouse=True)
def near_states() -> Iterator[None]:
    """States of a branch so near to each other that a short history holds several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.rpc.conversation.SNAPSHOT_INTERVAL", APART)
        yield


@pytest.fixture(
    scope="module", params=[(cell, precision) for cell in CELLS for precision in PRECISIONS], ids="-".join
)
def any_model(load_once: LoadOnce, request: pytest.FixtureRequest) -> Model:
    """For what depends on the state that a model has."""
    cell, precision = request.param
    return load_once(FOLDER / cell, precision)


@pytest.fixture(
    scope="module", params=["lstm", *(pytest.param(c, marks=pytest.mark.slow) for c in CELLS[1:])]
)
def model(load_once: LoadOnce, request: pytest.FixtureRequest) -> Model:
    """For what does not."""
    return load_once(FOLDER / request.param, PRECISIONS[-1])


class Talk:
    """A conversation in this process: commands in, events out."""

    def __init__(
        self, model: Model, state: bytes = b"", limits: RequestLimits = RequestLimits(), **bounds: int
    ) -> None:
        self.model = model
        self.sent: asyncio.Queue[pb.ConverseRequest | None] = asyncio.Queue()
        config = SchedulerConfig(max_streams=3, max_burst=5, latency_budget=9)
        self.served = ServedModel(model, config, Metrics())
        self.engine = self.served.engine
        resolver = Resolver(Models([self.served]), limits, SEALER)
        text, opening = resolver.resolve_conversation(pb.Open(state=state))
        assert opening.origin is not None, "the model has no labels"
        context = ConversationContext(text, limits, SEALER, EncodingThread())
        held = ConversationLimits(**{"max_history": HISTORY} | bounds)
        self.conversation = ConversationCall(context, held, opening.origin)

    async def __aenter__(self) -> "Talk":
        self.engine.start()
        self.events = self.conversation.run(self.commands())
        assert (await anext(self.events)).HasField("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sent.put_nowait(None)
        async for _event in self.events:
            pass
        await self.engine.stop()
        assert self.engine.engine.slots.used == self.engine.engine.waiting == 0

    async def commands(self) -> AsyncIterator[pb.ConverseRequest]:
        while (message := await self.sent.get()) is not None:
            yield message

    def send(self, branch: str = "", **command: Any) -> None:
        self.sent.put_nowait(pb.ConverseRequest(branch=branch, **command))

    async def ask(self, branch: str = "", **command: Any) -> pb.ConverseResponse:
        self.send(branch, **command)
        return await anext(self.events)

    async def text(
        self, branch: str = "", stop_after: int | None = None, **options: Any
    ) -> list[pb.GenerateResponse]:
        self.send(branch, generate=pb.GenerateRequest(token_ids=True, **options))
        parts: list[pb.GenerateResponse] = []
        while not parts or not parts[-1].HasField("finish"):
            event = await anext(self.events)
            assert event.HasField("generated"), event
            parts.append(event.generated)
            if len(parts) == stop_after:
                self.send(branch, stop=pb.Stop())
        return parts


@dataclass
class Known:
    """What the test knows of a branch: its tokens, and how many can be gone back at the least.

    A history holds the tokens after a state, which may be more; after a step back they can be gone back too.
    """

    tokens: list[int] = field(default_factory=list)
    back: int = 0

    def add(self, tokens: list[int]) -> None:
        self.tokens = self.tokens + tokens
        self.back = min(HISTORY, self.back + len(tokens))


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["feed", "generate", "generate", "rewind", "rewind", "fork", "suggest", "drop", "stop"]
        ),
        st.integers(0, 2**32),
    ),
    min_size=3,
    max_size=14,
)


@in_two_lengths(8, 40)
def test_every_branch_stands_where_its_tokens_lead(any_model: Model, cases: int) -> None:
    @settings(max_examples=cases)
    @given(commands=COMMANDS)
    def check(commands: list[tuple[str, int]]) -> None:
        asyncio.run(follow(any_model, commands))

    check()


async def follow(model: Model, commands: list[tuple[str, int]]) -> None:
    vocabulary = model.bundle.vocabulary
    async with Talk(model) as talk:
        known = {"": Known()}
        for turn, (kind, number) in enumerate(commands):
            branch = sorted(known)[number % len(known)]
            of_branch = known[branch]
            if kind == "feed":
                text = vocabulary.decode([(number + i) % vocabulary.size for i in range(number % 9)])
                assert (await talk.ask(branch, feed=pb.Feed(text=text))).HasField("fed")
                of_branch.add(vocabulary.encode(text).tolist())
            elif kind in ("generate", "stop"):
                options: dict[str, Any] = {
                    "max_tokens": number % 40,
                    "seed": number,
                    "prompt": vocabulary.decode([1]),
                }
                options |= [{}, {"stop": [vocabulary.decode([2])]}, {"top_k": 3}][number % 3]
                stop_after = number % 3 + 1 if kind == "stop" else None
                parts = await talk.text(branch, stop_after, **options)
                heard = [token for part in parts for token in part.token_ids]
                if heard or parts[-1].finish.reason != pb.FINISH_REASON_CANCELLED:
                    of_branch.add([1, *heard])
                assert vocabulary.decode(heard) == "".join(part.text for part in parts)
            elif kind == "rewind":
                count = number % (of_branch.back + 3)
                event = await talk.ask(branch, rewind=pb.Rewind(tokens=count))
                if event.HasField("failed"):
                    assert count > of_branch.back
                    assert "must be at most" in event.failed.message
                else:
                    assert count <= HISTORY
                    kept = len(of_branch.tokens) - count
                    assert event.rewound.text == vocabulary.decode(of_branch.tokens[kept:])
                    of_branch.tokens, of_branch.back = of_branch.tokens[:kept], max(0, of_branch.back - count)
            elif kind == "fork":
                name = f"branch {turn}"
                assert (await talk.ask(branch, fork=pb.Fork(name=name))).HasField("forked")
                known[name] = Known(of_branch.tokens, of_branch.back)
            elif kind == "suggest":
                event = await talk.ask(branch, suggest=pb.Suggest(count=3))
                assert len(event.suggested.alternatives) == 3
            elif branch:
                assert (await talk.ask(branch, drop=pb.Drop())).HasField("dropped")
                del known[branch]
        for branch, of_branch in known.items():
            event = await talk.ask(branch, save=pb.Save())
            assert event.position == event.saved.position == len(of_branch.tokens)
            await stands(model, of_branch.tokens, event.saved.token)


async def stands(model: Model, tokens: list[int], state: bytes) -> None:
    """Whether a state is that of a stream which read these tokens at once; also after another generation."""
    served = ServedModel(model, SchedulerConfig(max_streams=1), Metrics())
    resolver = Resolver(Models([served]), RequestLimits(), SEALER)
    _, opening = resolver.resolve_conversation(pb.Open(state=state))
    (read,) = run(model, Request(np.array(tokens, np.int64), 0, 0, returns_state=True), burst=50)[-1:]
    assert read.snapshot is not None
    assert opening.origin is not None
    assert same(opening.origin, read.snapshot)
    async with Talk(model, state) as other:
        parts = await other.text(max_tokens=20, seed=4)
    after = run(model, Request(np.array(tokens, np.int64), 20, 4))
    assert "".join(part.text for part in parts) == "".join(update.text for update in after)


def test_branches_generate_side_by_side(model: Model) -> None:
    async def talk_on() -> set[str]:
        async with Talk(model) as talk:
            assert (await talk.ask(fork=pb.Fork(name="b"))).HasField("forked")
            for branch in ("", "b"):
                talk.send(branch, generate=pb.GenerateRequest(max_tokens=500, seed=1))
            heard: list[pb.ConverseResponse] = []
            while sum(event.generated.HasField("finish") for event in heard) < 2:
                heard.append(await anext(talk.events))
            first_end = next(i for i, event in enumerate(heard) if event.generated.HasField("finish"))
            assert {event.branch for event in heard[:first_end]} == {"", "b"}
            texts = {"": "", "b": ""}
            for event in heard:
                texts[event.branch] += event.generated.text
            return set(texts.values())

    assert len(asyncio.run(talk_on())) == 1


def test_what_cannot_be_done_is_said_and_the_conversation_goes_on(model: Model) -> None:
    async def talk_on() -> None:
        async with Talk(model, max_branches=2) as talk:
            for words, command in {
                "branch is none that there is": {"branch": "x", "save": pb.Save()},
                "command must not be absent": {},
                "command must not be open": {"open": pb.Open()},
                "model must be absent": {"generate": pb.GenerateRequest(model="x")},
                "count must be 1 to 20": {"suggest": pb.Suggest()},
                "name must have 1 to 64": {"fork": pb.Fork()},
                "top_p must be": {"generate": pb.GenerateRequest(top_p=3)},
                "characters outside": {"feed": pb.Feed(text="\u2603")},
            }.items():
                event = await talk.ask(**command)
                assert words in event.failed.message, event
                assert event.failed.code == 3
            assert (await talk.ask(fork=pb.Fork(name="b"))).HasField("forked")
            assert "is that of a branch" in (await talk.ask(fork=pb.Fork(name="b"))).failed.message
            assert "one too many" in (await talk.ask(fork=pb.Fork(name="c"))).failed.message
            assert (await talk.ask(save=pb.Save())).HasField("saved")

    asyncio.run(talk_on())


def test_a_long_text_keeps_few_states_while_it_is_generated(model: Model) -> None:
    async def talk_on() -> None:
        async with Talk(model) as talk:
            gone: list[weakref.ref[Snapshot]] = []
            extended = History.extended

            def watched(self: History, tokens: Tokens, snapshots: Sequence[Snapshot]) -> History:
                gone.extend(map(weakref.ref, snapshots))
                assert sum(ref() is not None for ref in gone) <= 2 * HISTORY / APART + 4
                return extended(self, tokens, snapshots)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(History, "extended", watched)
                await talk.text(max_tokens=1000, seed=1)
            assert len(gone) > 1000 / APART / 3

    asyncio.run(talk_on())


def test_a_fed_text_is_no_longer_than_a_prompt_may_be(model: Model) -> None:
    async def talk_on() -> None:
        async with Talk(model, limits=RequestLimits(max_prompt=5)) as talk:
            letter = model.bundle.vocabulary.decode([1])
            assert (await talk.ask(feed=pb.Feed(text=letter * 5))).HasField("fed")
            for field, command in {
                "text": {"feed": pb.Feed(text=letter * 6)},
                "prompt": {"generate": pb.GenerateRequest(prompt=letter * 6)},
            }.items():
                event = await talk.ask(**command)
                assert f"{field} must be at most 5 characters here, not 6" in event.failed.message
                assert (event.failed.code, event.position) == (3, 5)

    asyncio.run(talk_on())


@pytest.mark.parametrize("bounds", [{}, {"max_commands": 1}], ids=["room", "no room"])
def test_commands_after_a_drop_are_answered_and_the_call_ends(model: Model, bounds: dict[str, int]) -> None:
    """They waited for ever, and the call with them, where the branch was still there as they came."""

    async def talk() -> list[str]:
        async with Talk(model, **bounds) as talk:
            talk.send(generate=pb.GenerateRequest(max_tokens=20, seed=1))
            talk.send(drop=pb.Drop())
            for _ in range(5):
                talk.send(save=pb.Save())
            talk.sent.put_nowait(None)
            kinds = [event.WhichOneof("event") or "" async for event in talk.events]
            talk.sent.put_nowait(None)
            return kinds

    kinds = asyncio.run(asyncio.wait_for(talk(), 20))
    assert sorted(kind for kind in kinds if kind != "generated") == ["dropped"] + ["failed"] * 5


def test_commands_that_wait_are_bounded_by_their_bytes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen branches of 64 commands of 4 MiB each were 4 GiB."""

    async def talk_on() -> None:
        letter = model.bundle.vocabulary.decode([1])
        async with Talk(model) as talk:
            for name in "abc":
                await talk.ask(fork=pb.Fork(name=name))
            for name in "abc":
                talk.send(name, generate=pb.GenerateRequest(max_tokens=200, seed=1))
                for _ in range(5):
                    talk.send(name, feed=pb.Feed(text=letter * 90))
            most, done = 0, 0
            while done < 3 * 6:
                event = await anext(talk.events)
                done += event.HasField("fed") or event.generated.HasField("finish")
                most = max(most, talk.conversation._unfinished)
            assert 100 < most <= 300
            assert talk.conversation._unfinished == 0

    monkeypatch.setattr("serving.rpc.conversation.MAX_UNFINISHED", 300)
    asyncio.run(asyncio.wait_for(talk_on(), 60))


def test_a_client_who_leaves_in_the_middle_leaves_no_task(model: Model) -> None:
    async def talk_on() -> None:
        talk = Talk(model)
        async with talk:
            before = asyncio.all_tasks()
            talk.send(generate=pb.GenerateRequest(max_tokens=100_000, seed=1))
            while not (await anext(talk.events)).generated.text:
                pass
            await talk.events.aclose()
            while not asyncio.all_tasks() <= before:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(talk_on(), 60))


BYTES = BytePairVocabulary(
    [b"th", b"the ", b"\xc3\xa9", b"\xe4\xbd", b"\xa0 ", b"\x9f\x9a"], b"\n abehinot" + "é你🚀".encode()
)
"""As many tokens as the golden models have, none of them a character beyond ASCII but é."""
BYTE_COMMANDS = st.lists(
    st.tuples(st.sampled_from(["text", "ids", "generate", "characters", "tokens"]), st.integers(0, 2**32)),
    min_size=2,
    max_size=12,
)


@pytest.fixture(scope="module")
def byte_model(load_once: LoadOnce) -> Model:
    model = load_once(FOLDER / "lstm", "float32")
    bundle = model.bundle
    return Model(Bundle(bundle.files, bundle.manifest, bundle.digest, BYTES), model.executor)


@in_two_lengths(20, 100)
def test_what_is_heard_is_the_text_of_the_stream_whatever_a_token_is(byte_model: Model, cases: int) -> None:
    @settings(max_examples=cases)
    @given(commands=BYTE_COMMANDS)
    def check(commands: list[tuple[str, int]]) -> None:
        asyncio.run(follow_bytes(byte_model, commands))

    check()


async def follow_bytes(model: Model, commands: list[tuple[str, int]]) -> None:
    async with Talk(model, max_history=10_000) as talk:
        heard = ""
        for kind, number in commands:
            if kind == "generate":
                parts = await talk.text(max_tokens=number % 9, seed=number)
                heard += "".join(part.text for part in parts)
            elif kind in ("text", "ids"):
                text = ["é", "the 你", "🚀\n", "", "a 你 你"][number % 5]
                ids = [number % BYTES.size] * (number % 3) if kind == "ids" else []
                fed = (await talk.ask(feed=pb.Feed(text=text, token_ids=ids))).fed
                heard += fed.text if fed.HasField("text") else text
            else:
                limit = len(heard) if kind == "characters" else len(tail(talk).tokens)
                count = number % (min(limit, 6) + 1)
                event = await talk.ask(rewind=pb.Rewind(**{kind: count}))
                if event.HasField("failed"):  # the rest of a token holds what no text has
                    assert "U+FFFD" in event.failed.message
                    continue
                gone = event.rewound.text
                assert heard.endswith(gone)
                heard = heard.removesuffix(gone)
                if kind == "characters":
                    assert len(gone) == count
                    assert not BYTES.decoder(tail(talk).tokens).unfinished
            assert heard == "".join(tail(talk).texts)
        for text, command in {
            "must be at most": pb.Rewind(characters=len(heard) + 1),
            "none of the model's 25 tokens": pb.Feed(token_ids=[25]),
        }.items():
            kind = "feed" if isinstance(command, pb.Feed) else "rewind"
            assert text in (await talk.ask(**{kind: command})).failed.message


def tail(talk: Talk) -> Tail:
    return talk.conversation._workers[""].branch.history.tail(BYTES)
