import json
import logging
import os
import sys
from contextlib import suppress
from threading import Thread

from serving.logs import FIELDS, JsonFormatter, LossyHandler


def record(message, *args, exc_info=None, **fields):
    made = logging.LogRecord("serving", logging.INFO, "file", 1, message, args, exc_info)
    if fields:
        setattr(made, FIELDS, fields)
    return made


def test_a_record_is_one_line_of_json():
    line = JsonFormatter().format(record("two\nlines of %s", "é", outcome="ok", tokens=3))
    assert "\n" not in line
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {"level": "info", "message": "two\nlines of é", "outcome": "ok", "tokens": 3}


def test_an_error_is_in_its_line():
    try:
        int("wrong")
    except ValueError:
        line = JsonFormatter().format(record("it failed", exc_info=sys.exc_info()))
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_a_log_that_nobody_reads_holds_up_nobody():
    """A pipe takes 64 KiB; the one who wrote to it would wait for ever after that."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        handler = LossyHandler(pipe, max_queued=100)
        for number in range(5000):
            handler.handle(record("%s %s", number, "x" * 100))
        lines = []

        def read():
            with os.fdopen(reading) as file:
                lines.extend(file)

        reader = Thread(target=read)
        reader.start()
        handler.flush()
    reader.join(10)
    kept = [int(line.split()[0]) for line in lines if "lost" not in line]
    lost = sum(int(line.split()[-1].replace(",", "")) for line in lines if "lost" in line)
    assert kept == sorted(set(kept))
    assert 0 < lost == 5000 - len(kept)


def test_a_log_whose_reader_is_gone_stops_nobody(capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(BrokenPipeError), os.fdopen(writing, "w") as pipe:
        handler = LossyHandler(pipe)
        for number in range(3):
            handler.handle(record("%s", number))
            handler.flush()
    assert capsys.readouterr() == ("", "")


def test_an_exception_comes_whole_through_the_queue(tmp_path):
    with (tmp_path / "log").open("w") as stream:
        handler = LossyHandler(stream)
        handler.setFormatter(JsonFormatter())
        try:
            int("wrong")
        except ValueError:
            handler.handle(record("it failed", exc_info=sys.exc_info(), outcome="error"))
        handler.flush()
    (line,) = (tmp_path / "log").read_text().splitlines()
    said = json.loads(line)
    assert (said["message"], said["outcome"]) == ("it failed", "error")
    assert "ValueError: invalid literal" in said["exception"]
