"""The real command in a real terminal: what is seen, and what is left behind."""

import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from select import select

import pytest

from tests.serving.golden import FOLDER

SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[()].|[=>78])"
)
PATIENCE = 60
Write = Callable[..., "Terminal"]


class Terminal:
    """A pseudo-terminal of 90 x 24 with a command in it."""

    def __init__(self, *command: str, cwd: Path) -> None:
        self.leader, follower = pty.openpty()
        ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
        self.follower = follower
        self.before = termios.tcgetattr(follower)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CHARLOOM_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "charloom", "write", *command],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=cwd,
            env=clean | {"TERM": "xterm-256color", "TMPDIR": str(cwd)},
            preexec_fn=lambda: (os.setsid(), ioctl(0, termios.TIOCSCTTY, 0)),
        )
        self.raw = ""

    @property
    def seen(self) -> str:
        """All that was ever shown, without what only moves the cursor or colours."""
        return SEQUENCE.sub("", self.raw)

    def press(self, keys: str) -> None:
        os.write(self.leader, keys.encode())

    def read(self) -> None:
        if select([self.leader], [], [], 0.1)[0]:
            self.raw += os.read(self.leader, 2**16).decode("utf-8", "replace")

    def until(self, text: str) -> None:
        """Waits until it is shown from now on."""
        deadline, begun = time.monotonic() + PATIENCE, len(self.seen)
        while text not in self.seen[begun:]:
            assert self.process.poll() is None, self.seen[-2000:]
            assert time.monotonic() < deadline, self.seen[-2000:]
            self.read()

    def end(self) -> int:
        """Waits until the command ends; gives its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen[-2000:]
            self.read()
        while select([self.leader], [], [], 0.2)[0]:
            self.read()
        return self.process.returncode

    def children(self) -> list[int]:
        """Processes that the command started."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(number) for number in listed.split()]

    def restored(self) -> bool:
        """Whether the terminal is as it was: settings, screen, cursor, no mouse, no paste marks."""
        modes = re.findall(r"\x1b\[\?(\d+)([hl])", self.raw)
        last = dict(modes)
        wanted = {"1049": "l", "25": "h", "1000": "l", "2004": "l"}
        same = termios.tcgetattr(self.follower) == self.before
        return same and all(last[mode] == state for mode, state in wanted.items())


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Starts the writer with a small bundle and a server of its own."""
    terminals = []

    def start(*options: str) -> Terminal:
        terminals.append(
            Terminal(*(options or ("--bundle", str(FOLDER / "lstm"), "--seed", "3")), cwd=tmp_path)
        )
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.leader)
        os.close(terminal.follower)


def alive(number: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(number: int) -> bool:
    """Whether a process ends soon."""
    deadline = time.monotonic() + PATIENCE
    while alive(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(number)


def test_a_text_is_written_and_nothing_stays_behind(write: Write, tmp_path: Path) -> None:
    # Settings of another server, which would refuse whoever has no token of its.
    (tmp_path / "charloom.toml").write_text('[serve]\ntokens = "none.toml"\n')
    terminal = write()
    terminal.until("reconnect")
    [server] = terminal.children()
    terminal.until("%")
    terminal.press("the ship")
    terminal.until("the ship")
    terminal.press("\t")
    terminal.until("the model writes")
    time.sleep(0.5)
    terminal.press("\t")
    time.sleep(0.5)
    terminal.press("\x13")
    terminal.until("Save the text as")
    terminal.press("\r")
    terminal.until("saved story.txt")
    terminal.press("\x11")
    assert terminal.end() == 0
    assert terminal.restored()
    assert not alive(server)
    assert "Traceback" not in terminal.raw
    text = (tmp_path / "story.txt").read_text()
    assert text.startswith("the ship")
    assert len(text) > 20
    assert (tmp_path / "story.txt.state").stat().st_size > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_signal_ends_it_as_well(write: Write, number: signal.Signals) -> None:
    terminal = write()
    terminal.until("%")
    [server] = terminal.children()
    terminal.press("\t")
    terminal.until("the model writes")
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    assert terminal.restored()
    assert not alive(server)
    assert "Traceback" not in terminal.raw


def test_its_server_ends_with_it_even_if_it_is_killed(write: Write) -> None:
    terminal = write()
    terminal.until("%")
    [server] = terminal.children()
    terminal.process.kill()
    assert ends(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_server_starts_ends_both(write: Write, number: signal.Signals) -> None:
    terminal = write()
    while not (servers := terminal.children()):
        time.sleep(0.02)
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    assert ends(servers[0])  # by itself, if the signal came before we knew of it
    assert "Traceback" not in terminal.raw
    assert "?1049h" not in terminal.raw


def test_what_cannot_be_begun_is_said_in_a_line(write: Write, tmp_path: Path) -> None:
    nothing = write("--bundle", str(tmp_path / "nothing"))
    assert nothing.end() != 0
    assert "the server did not start" in nothing.seen
    nobody = write("--address", "127.0.0.1:1")
    assert nobody.end() == 1
    assert "charloom: error: UNAVAILABLE" in nobody.seen
    for terminal in (nothing, nobody):
        assert "Traceback" not in terminal.raw
        assert "?1049h" not in terminal.raw
