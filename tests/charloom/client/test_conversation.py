"""A conversation's client, against a call that answers when it is told to."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.client.conversation import CommandError, Conversation


class Call:
    """Answers every command as soon as it may: positions count up, a rewind gives its number as text."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()

    def __call__(self, commands: Iterator[pb.ConverseRequest]) -> Iterator[pb.ConverseResponse]:
        self.commands = commands
        return self

    def __iter__(self) -> Iterator[pb.ConverseResponse]:
        for position, command in enumerate(self.commands):
            self.may.wait()
            kind = command.WhichOneof("command")
            events: list[dict[str, Any]] = []
            if kind == "open":
                events = [{"opened": pb.Start()}]
            elif kind == "rewind":
                events = [{"rewound": pb.Rewound(text=str(command.rewind.tokens))}]
            elif kind == "suggest":
                events = [{"failed": pb.Failure(code=3, message="no")}]
            elif kind == "generate":
                events = [{"generated": pb.GenerateResponse(text="a")}] * 3
            elif kind == "stop":
                events = [{"generated": pb.GenerateResponse(text="z", finish=pb.Finish())}]
            for event in events:
                yield pb.ConverseResponse(branch=command.branch, position=position, **event)

    def cancel(self) -> None:
        self.may.set()


@pytest.fixture
def call() -> Call:
    return Call()


@pytest.fixture
def talk(call: Call) -> Iterator[Conversation]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with Conversation(call, pb.Open()) as conversation:
        yield conversation
    signal.signal(signal.SIGINT, before)


def interrupt_soon() -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_an_answer_that_nobody_waits_for_any_more_is_not_the_next_commands(
    call: Call, talk: Conversation
) -> None:
    call.may.clear()
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        talk.rewind(5000)
    call.may.set()
    assert (talk.rewind(3), talk.position) == ("3", 2)
    assert (talk.rewind(4, branch="other"), talk.position) == ("4", 3)


def test_nor_is_its_failure(call: Call, talk: Conversation) -> None:
    call.may.clear()
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        talk.suggest()
    call.may.set()
    assert talk.rewind(3) == "3"
    with pytest.raises(CommandError, match="no"):
        talk.suggest()
    assert talk.rewind(4) == "4"


def test_a_text_that_is_broken_off_twice_leaves_the_branch_usable(call: Call, talk: Conversation) -> None:
    """Once while it is read, and once while its end is waited for."""
    text = talk.generate()
    assert next(text) == "a"
    call.may.clear()
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        text.close()
    call.may.set()
    assert talk.rewind(3) == "3"
