"""The progress of a job for people, on standard error: a bar in a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 30.0
"""Seconds between two lines where there is no terminal."""


class ProgressBar:
    """Shows how many records there are."""

    def __init__(self, total: int, begun: int = 0) -> None:
        """Takes how many records there will be, and how many there were before."""
        self.total, self.begun = total, begun
        console = Console(stderr=True)
        self.terminal = console.is_terminal
        columns = (
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%  {task.description}"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, transient=True)
        self.task = self.bar.add_task("", total=total, completed=begun)
        self.started = time.monotonic()
        self.next = self.started + LINE_SECONDS

    def __enter__(self) -> "ProgressBar":
        if self.terminal:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal:
            self.bar.stop()

    def show(self, records: int, attempts: int) -> None:
        """Shows how far it is, if it is time."""
        now = time.monotonic()
        rate = (records - self.begun) / max(now - self.started, 1e-3)
        line = f"{records:,} of {self.total:,} records, {attempts:,} attempts, {rate:,.0f} records/s"
        if self.terminal:
            self.bar.update(self.task, completed=records, description=line)
        elif now >= self.next:
            self.next = now + LINE_SECONDS
            say(line)


def say(line: str) -> None:
    """Writes a line on standard error."""
    print(f"charloom: {line}", file=sys.stderr)  # noqa: T201
