"""The console reporter: how training tells people how it is going, on standard error.

On a terminal it is a progress bar with samples scrolling past above it; anywhere else a plain log
with a line now and then and no escape codes.
"""

import sys
import time
from dataclasses import dataclass
from io import StringIO
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from charloom.printable import printable
from training.reporting.config import ReportConfig

BAR_SECONDS = 0.5
LOG_SECONDS = 30.0


@dataclass(frozen=True)
class Status:
    """The status of a run."""

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
    """Steps of the whole run."""

    def line(self) -> str:
        """Writes the status as a line."""
        return (
            f"epoch {self.epoch:.2f}  loss {self.loss:.4f}  validation {self.validation:.4f}  "
            f"{self.speed:,.0f} characters/s  {clock(self.seconds_left)} left"
        )


class Reporter:
    """Writes to standard error, as a terminal or as a log."""

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
        """Returns whether it is time to show something again."""
        return time.monotonic() >= self.next

    def status_due(self, step: int) -> bool:
        """Returns whether it is time to show the status, after so many steps."""
        every = self.config.print_every
        return step > 0 and step % every == 0 if every else self.due()

    def status(self, status: Status) -> None:
        """Shows the status."""
        self.next = time.monotonic() + self.interval
        if self.terminal:
            self.bar.update(self.task, completed=status.share, description=status.line())
        if self.config.print_every:
            self.say(f"step {status.step:,} of {status.steps:,}  {status.line()}")
        elif not self.terminal:
            self.say(f"{status.share:4.0%}  {status.line()}")

    def busy(self, doing: str, share: float) -> None:
        """Shows, when it is time, how far something is that the run waits for.

        Args:
            doing: what it is, such as `validating`.
            share: share of it that is done.
        """
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
                self.console.print(Text(printable(text, keep="\n\t")))
            else:
                self.say(f"      at {temperature:g}: {quoted(text)}")


class QuietReporter(Reporter):
    """Writes nothing: the reporter of all ranks but the first."""

    def __init__(self) -> None:
        super().__init__(Console(file=StringIO()))

    def say(self, line: str) -> None:
        """Writes nothing."""


def quoted(text: str) -> str:
    """The text on one line, in quotation marks."""
    escaped = printable(text.replace("\\", "\\\\"))
    return f"'{escaped}'"


def clock(seconds: float) -> str:
    """Formats a duration, as 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
