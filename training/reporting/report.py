"""Reports: how training tells people how it is going, on standard error.

On a terminal it is a progress bar with samples scrolling past above it; anywhere else a plain log
with a line now and then and no escape codes. It knows nothing of models.
"""

import sys
import time
import unicodedata
from dataclasses import dataclass
from io import StringIO
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from charloom.errors import require

BAR_SECONDS = 0.5
LOG_SECONDS = 30.0

TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Embeddings, overrides and isolates of writing direction, which reach beyond the text they are in."""


@dataclass(frozen=True)
class ReportConfig:
    """What is said while training."""

    print_every: int = 0
    """Steps between two lines on how the run stands; 0: a line in half a minute, or a moving bar on a
    terminal."""

    def __post_init__(self) -> None:
        require(self.print_every >= 0, "print-every", "must be at least 0")


@dataclass(frozen=True)
class Status:
    """How a run stands."""

    share: float
    """Share of the run that is done."""
    epoch: float
    loss: float
    """Training loss since the last evaluation, nats a token."""
    validation: float
    """Last validation loss, nats a token."""
    speed: float
    """Characters a second."""
    seconds_left: float
    step: int
    steps: int
    """Of the whole run."""

    def line(self) -> str:
        """The status in words."""
        return (
            f"epoch {self.epoch:.2f}  loss {self.loss:.4f}  validation {self.validation:.4f}  "
            f"{self.speed:,.0f} characters/s  {clock(self.seconds_left)} left"
        )


class Reporter:
    """Writes to standard error in the way that suits it."""

    def __init__(self, console: Console | None = None, config: ReportConfig = ReportConfig()) -> None:
        self.config = config
        self.console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self.terminal = self.console.is_terminal
        self.interval = BAR_SECONDS if self.terminal else LOG_SECONDS
        self.next = time.monotonic() + self.interval
        self.bar = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.description}", markup=False),
            console=self.console,
            disable=not self.terminal,
            refresh_per_second=4,
            transient=True,
        )
        self.task = self.bar.add_task("", total=1.0)

    def __enter__(self) -> "Reporter":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def due(self) -> bool:
        """Whether it is time to show something again."""
        return time.monotonic() >= self.next

    def status_due(self, step: int) -> bool:
        """Whether it is time to show how the run stands, after so many steps."""
        every = self.config.print_every
        return step > 0 and step % every == 0 if every else self.due()

    def status(self, status: Status) -> None:
        """Shows how the run stands."""
        self.next = time.monotonic() + self.interval
        if self.terminal:
            self.bar.update(self.task, completed=status.share, description=status.line())
        if self.config.print_every:
            self.say(f"step {status.step:,} of {status.steps:,}  {status.line()}")
        elif not self.terminal:
            self.say(f"{status.share:4.0%}  {status.line()}")

    def busy(self, doing: str, share: float) -> None:
        """Shows, when it is time, how far something is that the run waits for."""
        if not self.due():
            return
        self.next = time.monotonic() + self.interval
        line = f"{doing}  {share:.0%}"
        if self.terminal:
            self.bar.update(self.task, description=line)
        else:
            self.say(line)

    def say(self, line: str) -> None:
        """Writes a line."""
        if self.terminal:
            self.console.print(Text(line))
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def samples(self, samples: list[tuple[float, str]]) -> None:
        """Shows text at several temperatures; on one line each where it is a log."""
        for temperature, text in samples:
            if self.terminal:
                self.console.print(Text(f"--- temperature {temperature:g}", style="dim"))
                self.console.print(Text(printable(text)))
            else:
                self.say(f"      at {temperature:g}: {quoted(text)}")


class Silence(Reporter):
    """Says nothing; another rank speaks."""

    def __init__(self) -> None:
        super().__init__(Console(file=StringIO()))

    def say(self, line: str) -> None:
        """Writes nothing."""


def printable(text: str) -> str:
    """The text without what would steer a terminal: controls, turned directions, lone surrogates.

    Spaces and joiners of all scripts stay, which make up what people read.
    """
    return "".join("\ufffd" if steers(character) else character for character in text)


def steers(character: str) -> bool:
    """Whether a character does something to a terminal but show itself or break the line."""
    if character in "\n\t":
        return False
    return unicodedata.category(character) in ("Cc", "Cs") or character in TURNS


def quoted(text: str) -> str:
    """The text on one line, in quotation marks."""
    escaped = printable(text).replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    return f"'{escaped}'"


def clock(seconds: float) -> str:
    """A duration as a person reads it."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
