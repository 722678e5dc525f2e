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
from writing.line import Line
from writing.main import WritingFlags, begin
from writing.story import load
from writing.writer import RefusedError, Writer

Serve = Callable[..., ServerProcess]
FLAGS = WritingFlags(seed=3)


@pytest.fixture(scope="module")
def server(serve_all: Serve) -> ServerProcess:
    """A server of a small model, which knows the letters of 'the ship sails on, ocean blue!'."""
    return serve_all("--precision", "float32", bundle=FOLDER / "lstm")


class Desk:
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
        """What is on the paper."""
        sheets = self.app.screen_stack[0].query("Paper Static").results(Static)
        return "".join(str(sheet.content) for sheet in sheets).removesuffix(" ")

    def part(self, name: str) -> str:
        return str(self.app.screen_stack[0].query_one(name, Static).content)

    @property
    def status(self) -> str:
        return self.part("#status")

    @property
    def forecast(self) -> list[str]:
        return self.part("Forecast").splitlines()


async def sit(writer: Writer, act: Callable[[Desk], Awaitable[None]]) -> WriteApp:
    """Sits down at a screen, does something, and leaves whatever there is."""
    app = WriteApp(writer)
    async with app.run_test(size=(90, 24)) as pilot:
        await act(Desk(app, pilot))
        app.exit(return_code=0)
    assert app.error is None
    return app


def a_writer(server: ServerProcess, state: bytes = b"", before: str = "") -> Writer:
    return Writer(lambda: begin(server.address, "", state, before, FLAGS), before, seed=3, pause=0.01)


def write(server: ServerProcess, act: Callable[[Desk], Awaitable[None]]) -> WriteApp:
    """Writes with a server."""
    return asyncio.run(sit(a_writer(server), act))


def test_a_text_is_written_together(server: ServerProcess) -> None:
    async def act(desk: Desk) -> None:
        await desk.type("the sh")
        await desk.until(lambda: desk.text == "the sh" and len(desk.forecast) == 9)
        likeliest = desk.forecast[0].split()[1]
        await desk.press("1")
        await desk.until(lambda: desk.text == "the sh" + likeliest.replace("␣", " ").replace("↵", "\n"))
        await desk.press("ctrl+z")
        await desk.until(lambda: desk.text == "the sh")
        await desk.type("z")
        await desk.until(lambda: "'z' (U+007A)" in desk.status)
        assert desk.text == "the sh"
        await desk.press("tab")
        await desk.until(lambda: len(desk.text) > 40)
        await desk.press("tab")
        await desk.until(lambda: desk.status == "")
        written = desk.text
        assert written == desk.app._writer.text
        await desk.press("ctrl+z")
        await desk.until(lambda: desk.text == "the sh")
        await desk.press("ctrl+y")
        await desk.until(lambda: desk.text == written)
        await desk.press("backspace")
        await desk.until(lambda: desk.text == written[:-1])
        with Client(server.address) as client:  # the model has read what is shown
            *_, piece = client.generate(desk.text, max_tokens=1, logprobs=9, seed=0).pieces()
        await desk.until(lambda: desk.app._news[0].suggestions)
        shown = desk.app._news[0].suggestions
        assert [text for text, _ in shown] == [a.text for a in piece.alternatives[0]]
        assert [p for _, p in shown] == pytest.approx([a.logprob for a in piece.alternatives[0]])

    write(server, act)


def test_the_model_ends_a_line(server: ServerProcess) -> None:
    async def act(desk: Desk) -> None:
        await desk.press("ctrl+l")
        await desk.until(lambda: desk.text.endswith("\n") and desk.status == "")
        assert desk.text.count("\n") == 1

    write(server, act)


def test_versions_are_kept_aside(server: ServerProcess) -> None:
    async def act(desk: Desk) -> None:
        await desk.type("the ")
        await desk.press("ctrl+f")
        desk.app.screen.query_one(Input).value = "blue"
        await desk.press("enter")
        await desk.until(lambda: " blue " in desk.part("#title"))
        await desk.type("blue")
        await desk.until(lambda: desk.text == "the blue")
        await desk.press("ctrl+f", "enter", "ctrl+z")
        await desk.until(lambda: " version 3 " in desk.part("#title") and desk.text == "the ")
        await desk.press("ctrl+o")
        assert desk.app.screen.query_one(OptionList).highlighted == 2
        await desk.press("up", "enter")
        await desk.until(lambda: desk.text == "the blue")
        await desk.press("ctrl+f", "escape", "ctrl+q")
        await desk.until(lambda: "not saved: first, blue" in desk.status)
        await desk.press("ctrl+q")

    assert write(server, act).return_code == 0


def test_a_story_is_saved_and_goes_on(server: ServerProcess, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    async def save(desk: Desk) -> None:
        await desk.type("the ship ")
        await desk.press("ctrl+s")
        desk.app.screen.query_one(Input).value = str(path)
        await desk.press("enter")
        await desk.until(lambda: "saved" in desk.status)
        await desk.press("ctrl+q")

    async def go_on(desk: Desk) -> None:
        assert desk.text == "the ship "
        await desk.type("sails")
        await desk.until(lambda: desk.text == "the ship sails" and len(desk.forecast) == 9)
        forecasts.append(desk.app._news[0].suggestions)

    write(server, save)
    assert path.read_text() == "the ship "
    token, before = load(tmp_path / "a.txt.state")
    forecasts: list[object] = []
    asyncio.run(sit(a_writer(server, token, before), go_on))
    other = serve("--precision", "float32", bundle=FOLDER / "lstm")  # has other keys
    asyncio.run(sit(a_writer(other, token, before), go_on))
    assert forecasts[0] == forecasts[1]
    with pytest.raises(RefusedError):
        Line(other.address, "", token, FLAGS)


def test_a_server_that_is_gone_takes_nothing_along(serve: Serve) -> None:
    options = ("--precision", "float32")
    servers = [serve(*options, bundle=FOLDER / "lstm")]
    writer = Writer(lambda: Line(servers[-1].address, "", b"", FLAGS), seed=3, pause=0.01)

    async def act(desk: Desk) -> None:
        await desk.type("the ")
        await desk.press("tab")
        await desk.until(lambda: len(desk.text) > 20)
        servers[0].process.send_signal(signal.SIGKILL)
        await desk.until(lambda: "^R reconnects" in desk.status)
        kept = desk.text
        assert len(kept) > 20
        await desk.press("ctrl+r")
        await desk.until(lambda: "UNAVAILABLE" in desk.status)
        assert desk.text == kept
        servers.append(serve(*options, bundle=FOLDER / "lstm"))
        await desk.press("ctrl+r")
        await desk.until(lambda: "connected" in desk.status)
        await desk.press("tab")
        await desk.until(lambda: len(desk.text) > len(kept) + 20)
        assert desk.text.startswith(kept)

    asyncio.run(sit(writer, act))
    servers[0].process.wait()
