"""The server's log: lines for people or for programs, on standard error.

What is logged never holds a prompt, a text, a token or a key.
"""

import json
import logging
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, Literal, TextIO

FIELDS = "fields"
"""Attribute of a record: its message's values by name, for the JSON format."""
MAX_QUEUED = 10_000
"""Lines that may wait to be written."""
FLUSH_SECONDS = 1.0
"""Seconds that the end of the process waits for the last lines."""


@dataclass(frozen=True)
class LogConfig:
    """The format of the log."""

    log_format: Literal["text", "json"] = "text"
    """Form of the log: text for people, or json, an object a line."""


def configure(config: LogConfig) -> None:
    """Sends the log to standard error."""
    handler = LossyHandler(sys.stderr)
    text = logging.Formatter("charloom: %(message)s")
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else text)
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    # gRPC logs metadata that is not valid text in full, and a token may be in it.
    logging.getLogger("grpc._cython.cygrpc").addFilter(
        lambda record: not str(record.msg).startswith("Invalid encoding")
    )


def describe(defect: Exception) -> str:
    """Type and traceback of an unexpected error, without its message, which may quote a text."""
    where = "".join(traceback.format_tb(defect.__traceback__))
    return f"{type(defect).__name__} at\n{where}"


class LossyHandler(QueueHandler):
    """Queues lines for a thread that writes them, so that a slow reader of the log holds up no stream.

    Lines beyond a bound are dropped and counted; the count is logged as a line of its own.
    """

    def __init__(self, stream: TextIO, max_queued: int = MAX_QUEUED) -> None:
        self._queued: SimpleQueue[Any] = SimpleQueue()
        super().__init__(self._queued)
        self._max_queued = max_queued
        self._dropped = 0
        self._dropped_lock = Lock()
        LineWriter(self, stream).start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queues a formatted record, or drops it if too many wait."""
        if self._queued.qsize() < self._max_queued:
            self._queued.put(record)
        else:
            with self._dropped_lock:
                self._dropped += 1

    def flush(self) -> None:
        """Waits until all that was queued is written, for `FLUSH_SECONDS` at most."""
        written = Event()
        self._queued.put(written)
        written.wait(FLUSH_SECONDS)

    def take_dropped(self) -> logging.LogRecord | None:
        """The formatted record that tells of the lines dropped since the last call; None if none were."""
        with self._dropped_lock:
            count, self._dropped = self._dropped, 0
        return self.prepare(logging.makeLogRecord(lines_lost(count))) if count else None


class LineWriter(QueueListener):
    """The thread that writes the lines of a `LossyHandler`; it ends with the process."""

    def __init__(self, source: LossyHandler, stream: TextIO) -> None:
        super().__init__(source.queue, QuietStreamHandler(stream))
        self._source = source

    def handle(self, record: logging.LogRecord | Event) -> None:
        """Writes a record and the count of lines dropped before it, or sets the event of a `flush`."""
        if isinstance(record, Event):
            record.set()
            return
        super().handle(record)
        if (dropped := self._source.take_dropped()) is not None:
            super().handle(dropped)


class QuietStreamHandler(logging.StreamHandler[TextIO]):
    """Writes lines, and goes on if whoever read them is gone."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Ignores a line that could not be written."""


def lines_lost(count: int) -> dict[str, Any]:
    """The attributes of the record that tells of dropped lines."""
    message = "lines of this log were lost, since nobody read them in time: %s"
    return {"msg": message, "args": (f"{count:,}",), "levelno": logging.WARNING, "levelname": "WARNING"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, fields and exception of the record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
