"""A conversation with a real server, by the Python client."""

import signal
import threading
from collections.abc import Callable

import pytest

from charloom.client import Client, RequestError
from charloom.client.conversation import BusyError, CommandError, Conversation
from tests.e2e.conftest import ServerProcess, metric, wait_until

Serve = Callable[..., ServerProcess]


def test_a_story_is_written_together(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client, client.converse() as talk:
        talk.feed("The statement ")
        alone = client.generate("The statement is ", max_tokens=60, seed=3).text()
        assert "".join(talk.generate("is ", max_tokens=60, seed=3)) == alone
        assert talk.position == len("The statement is ") + 60
        assert talk.rewind(60) == alone
        talk.fork("other")
        assert "".join(talk.generate(max_tokens=60, seed=3)) == alone
        other = "".join(talk.generate(max_tokens=60, seed=4, branch="other"))
        assert other == client.generate("The statement is ", max_tokens=60, seed=4).text()
        suggested = talk.suggest(3, branch="other")
        *_, piece = client.generate("The statement is " + other, max_tokens=1, logprobs=3, seed=0).pieces()
        assert suggested == piece.alternatives[0]
        state = talk.save(branch="other")
        assert client.generate("x", max_tokens=20, seed=9, state=state).text() == "".join(
            talk.generate("x", max_tokens=20, seed=9, branch="other")
        )
        talk.drop("other")
        with pytest.raises(CommandError, match="INVALID_ARGUMENT: branch is none that there is"):
            talk.feed("a", branch="other")
        with client.converse(state=state) as again:
            assert again.exact
            assert again.rewind(0) == ""
            with pytest.raises(CommandError, match="tokens must be at most 0 here"):
                again.rewind(1)


def test_what_runs_can_be_stopped(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client, client.converse() as talk:
        text = ""
        for count, piece in enumerate(talk.generate("The ", max_tokens=1_000_000, seed=1)):
            text += piece
            if count == 3:
                talk.stop()
        assert len(text) < 900_000
        assert talk.position == len("The ") + len(text)
        more = "".join(talk.generate(max_tokens=30, seed=1))
        whole = client.generate("The " + text, max_tokens=30, seed=1).text()
        assert more == whole


def test_who_leaves_a_text_early_stops_it_and_goes_on_from_there(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client, client.converse() as talk:
        text = ""
        for piece in talk.generate("The ", max_tokens=1_000_000, seed=1):
            text += piece
            with pytest.raises(BusyError, match="is generating a text"):
                talk.feed("a")
            break
        with pytest.raises(CommandError, match="characters outside"):
            talk.feed("\u2603")
        assert len(talk.suggest(2)) == 2
        taken = talk.rewind(talk.position - len("The "))
        assert taken.startswith(text)
        assert (
            "".join(talk.generate(max_tokens=40, seed=3))
            == client.generate("The ", max_tokens=40, seed=3).text()
        )


def test_a_server_that_is_gone_is_passed_over(serve_all: Serve) -> None:
    server = serve_all()
    with Client(["127.0.0.1:1", server.address]) as client:
        for _ in range(2):
            assert len(client.models()) == 1
            assert client.score(["The "])[0].token_ids
            assert client.embed(["The "])
            with client.converse() as talk:
                talk.feed("The ")
        with pytest.raises(TypeError, match="a list"):
            client.score("The ")


def feed_for_ever(talk: Conversation) -> None:
    while True:
        talk.feed("a")


def test_a_server_that_ends_hands_out_the_state(serve: Serve) -> None:
    server = serve("--grace", "5")
    with Client(server.address) as client:
        talk = client.converse()
        talk.feed("The ")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "shutting down" in server.stderr)
        with pytest.raises(RequestError, match=r"UNAVAILABLE.*shutting down"):
            feed_for_ever(talk)
        assert talk.states[""]
    assert server.process.wait(20) == 0
    assert "Traceback" not in server.stderr
    assert not [thread for thread in threading.enumerate() if thread.name == "conversation"]


def test_a_conversation_that_cannot_be_held(serve: Serve) -> None:
    server = serve("--max-conversations", "1")
    with Client(server.address) as client:
        with pytest.raises(RequestError, match="NOT_FOUND"):
            client.converse(model="other")
        with client.converse(), pytest.raises(RequestError, match="RESOURCE_EXHAUSTED"):
            client.converse()


def test_may_end_in_the_middle_of_a_text(serve_all: Serve) -> None:
    server = serve_all()
    with Client(server.address) as client:
        with client.converse() as talk:
            text = talk.generate("The ", max_tokens=1_000_000)
            assert next(text)
        text.close()
        wait_until(lambda: metric(server, "charloom_active_streams") == 0)
