"""Logs: what the server says while it runs, for people or for programs.

It knows how a line looks. What is said is said elsewhere, and never a prompt, a text, a token or a key.
"""

import json
import logging
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal, TextIO

FIELDS = "fields"
"""Attribute of a record: a mapping of what its message says in words."""
MOST_UNWRITTEN = 10_000
"""Lines that may wait to be written."""
PARTING = 1.0
"""Seconds for the last lines when the process ends."""


@dataclass(frozen=True)
class LogConfig:
    """What the log looks like."""

    log_format: Literal["text", "json"] = "text"
    """Form of the log: text for people, or json, an object a line."""


def configure(config: LogConfig) -> None:
    """Sends what is logged to standard error."""
    relay = Relay(sys.stderr)
    text = logging.Formatter("charloom: %(message)s")
    relay.setFormatter(JsonFormatter() if config.log_format == "json" else text)
    logging.basicConfig(handlers=[relay], level=logging.INFO)
    # Of metadata that is no text gRPC logs all, a token too.
    logging.getLogger("grpc._cython.cygrpc").addFilter(
        lambda record: not str(record.msg).startswith("Invalid encoding")
    )


def describe(defect: Exception) -> str:
    """Type and place of an error that nobody meant to raise; what it says may quote a text."""
    where = "".join(traceback.format_tb(defect.__traceback__))
    return f"{type(defect).__name__} at\n{where}"


class Relay(logging.Handler):
    """Has lines written by a thread of its own: whoever does not read them holds up no stream.

    Of lines that wait to be written there are at most so many; those beyond are lost, and counted in a
    line of their own.
    """

    def __init__(self, stream: TextIO, most: int = MOST_UNWRITTEN) -> None:
        super().__init__()
        self._stream = stream
        self._most = most
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._lost = 0
        self._thread = Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Lets a record's line wait."""
        if self._lines.qsize() < self._most:
            self._lines.put(self.format(record))
        else:
            self._lost += 1

    def close(self) -> None:
        """Waits a moment for what is still to be written."""
        self._lines.put(None)
        self._thread.join(PARTING)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            self._say(line)
            if self._lost:
                lost, self._lost = self._lost, 0
                self._say(self.format(logging.makeLogRecord(lines_lost(lost))))

    def _say(self, line: str) -> None:
        with suppress(OSError):  # who listened is gone, and that is no reason to stop
            self._stream.write(f"{line}\n")
            self._stream.flush()


def lines_lost(count: int) -> dict[str, Any]:
    """The record that says so."""
    message = "lines of this log were lost, since nobody read them in time: %s"
    return {"msg": message, "args": (f"{count:,}",), "levelno": logging.WARNING, "levelname": "WARNING"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level and message, and its fields."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
