"""The writer's screen against a real server, key by key."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from charloom.client import Client
from tests.e2e.conftest import ServerProcess
from tests.serving.golden import FOLDER
from writing.app import WriteApp
from writing.document import load
from writing.main import WritingFlags
from writing.session import ServerSession, begin
from writing.writer import RefusedError, Writer

Serve = Callable[..., ServerProcess]
FLAGS = WritingFlags(seed=3)


@pytest.fixture(scope="module")
def server(serve_all: Serve) -> ServerProcess:
    """A server of a small model, which knows the letters of 'the ship sails on, ocean blue!'."""
    return serve_all("--precision", "float32", bundle=FOLDER / "lstm")


class Person:
    """Somebody at the screen."""

    def __init__(self, app: WriteApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        await self.press(*("space" if character == " " else character for character in text))

    async def until(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert time.monotonic() < deadline, (self.status, self.text)
            await self.pilot.pause(0.02)

    @property
    def text(self) -> str:
        """What the text view shows."""
        sheets = self.app.screen_stack[0].query("TextView Static").results(Static)
        return "".join(str(sheet.content) for sheet in sheets).removesuffix(" ")

    def part(self, name: str) -> str:
        return str(self.app.screen_stack[0].query_one(name, Static).content)

    @property
    def status(self) -> str:
        return self.part("#status")

    @property
    def forecast(self) -> list[str]:
        return self.part("Forecast").splitlines()


async def sit(writer: Writer, act: Callable[[Person], Awaitable[None]]) -> WriteApp:
    """Sits down at a screen, does something, and leaves whatever there is."""
    app = WriteApp(writer)
    async with app.run_test(size=(90, 24)) as pilot:
        await act(Person(app, pilot))
        app.exit(return_code=0)
    assert app.error is None
    return app


def a_writer(server: ServerProcess, state: bytes = b"", before: str = "") -> Writer:
    return Writer(lambda: begin(server.address, "", state, before, FLAGS), before, seed=3, pause=0.01)


def write(server: ServerProcess, act: Callable[[Person], Awaitable[None]]) -> WriteApp:
    """Writes with a server."""
    return asyncio.run(sit(a_writer(server), act))


def test_a_text_is_written_together(server: ServerProcess) -> None:
    async def act(person: Person) -> None:
        await person.type("the sh")
        await person.until(lambda: person.text == "the sh" and len(person.forecast) == 9)
        likeliest = person.forecast[0].split()[1]
        await person.press("1")
        await person.until(lambda: person.text == "the sh" + likeliest.replace("␣", " ").replace("↵", "\n"))
        await person.press("ctrl+z")
        await person.until(lambda: person.text == "the sh")
        await person.type("z")
        await person.until(lambda: "'z' (U+007A)" in person.status)
        assert person.text == "the sh"
        await person.press("tab")
        await person.until(lambda: len(person.text) > 40)
        await person.press("tab")
        await person.until(lambda: person.status == "")
        written = person.text
        assert written == person.app._writer.text
        await person.press("ctrl+z")
        await person.until(lambda: person.text == "the sh")
        await person.press("ctrl+y")
        await person.until(lambda: person.text == written)
        await person.press("backspace")
        await person.until(lambda: person.text == written[:-1])
        with Client(server.address) as client:  # the model has read what is shown
            *_, piece = client.generate(person.text, max_tokens=1, logprobs=9, seed=0).pieces()
        await person.until(lambda: person.app._news[0].suggestions)
        shown = person.app._news[0].suggestions
        assert [one.text for one in shown] == [a.text for a in piece.alternatives[0]]
        assert [one.logprob for one in shown] == pytest.approx([a.logprob for a in piece.alternatives[0]])

    write(server, act)


def test_the_model_ends_a_line(server: ServerProcess) -> None:
    async def act(person: Person) -> None:
        await person.press("ctrl+l")
        await person.until(lambda: person.text.endswith("\n") and person.status == "")
        assert person.text.count("\n") == 1

    write(server, act)


def test_versions_are_kept_aside(server: ServerProcess) -> None:
    async def act(person: Person) -> None:
        await person.type("the ")
        await person.press("ctrl+f")
        person.app.screen.query_one(Input).value = "blue"
        await person.press("enter")
        await person.until(lambda: " blue " in person.part("#title"))
        await person.type("blue")
        await person.until(lambda: person.text == "the blue")
        await person.press("ctrl+f", "enter", "ctrl+z")
        await person.until(lambda: " version 3 " in person.part("#title") and person.text == "the ")
        await person.press("ctrl+o")
        assert person.app.screen.query_one(OptionList).highlighted == 2
        await person.press("up", "enter")
        await person.until(lambda: person.text == "the blue")
        await person.press("ctrl+f", "escape", "ctrl+q")
        await person.until(lambda: "not saved: first, blue" in person.status)
        await person.press("ctrl+q")

    assert write(server, act).return_code == 0


def test_a_story_is_saved_and_goes_on(server: ServerProcess, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    async def save(person: Person) -> None:
        await person.type("the ship ")
        await person.press("ctrl+s")
        person.app.screen.query_one(Input).value = str(path)
        await person.press("enter")
        await person.until(lambda: "saved" in person.status)
        await person.press("ctrl+q")

    async def go_on(person: Person) -> None:
        assert person.text == "the ship "
        await person.type("sails")
        await person.until(lambda: person.text == "the ship sails" and len(person.forecast) == 9)
        forecasts.append(person.app._news[0].suggestions)

    write(server, save)
    assert path.read_text() == "the ship "
    token, before = load(tmp_path / "a.txt.state")
    forecasts: list[object] = []
    asyncio.run(sit(a_writer(server, token, before), go_on))
    other = serve("--precision", "float32", bundle=FOLDER / "lstm")  # has other keys
    asyncio.run(sit(a_writer(other, token, before), go_on))
    assert forecasts[0] == forecasts[1]
    with pytest.raises(RefusedError):
        ServerSession(other.address, "", token, FLAGS)


def test_a_server_that_is_gone_takes_nothing_along(serve: Serve) -> None:
    options = ("--precision", "float32")
    servers = [serve(*options, bundle=FOLDER / "lstm")]
    writer = Writer(lambda: ServerSession(servers[-1].address, "", b"", FLAGS), seed=3, pause=0.01)

    async def act(person: Person) -> None:
        await person.type("the ")
        await person.press("tab")
        await person.until(lambda: len(person.text) > 20)
        servers[0].process.send_signal(signal.SIGKILL)
        await person.until(lambda: "^R reconnects" in person.status)
        kept = person.text
        assert len(kept) > 20
        await person.press("ctrl+r")
        await person.until(lambda: "UNAVAILABLE" in person.status)
        assert person.text == kept
        servers.append(serve(*options, bundle=FOLDER / "lstm"))
        await person.press("ctrl+r")
        await person.until(lambda: "connected" in person.status)
        await person.press("tab")
        await person.until(lambda: len(person.text) > len(kept) + 20)
        assert person.text.startswith(kept)

    asyncio.run(sit(writer, act))
    servers[0].process.wait()
