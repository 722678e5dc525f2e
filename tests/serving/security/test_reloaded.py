import logging
import os

import pytest

from charloom.errors import ConfigError, require
from serving.rpc.security.reloaded import Reloaded


@pytest.fixture
def number(tmp_path):
    """A file that holds a number, and its value."""
    path = tmp_path / "number"
    path.write_text("1")

    def read():
        require(path.exists() and path.read_text().isdecimal(), "number", "must be a number")
        return int(path.read_text())

    return path, Reloaded([path], read)


def test_a_value_follows_its_file(number):
    path, value = number
    assert (value.refresh(), value.value) == (False, 1)
    path.write_text("22")
    assert (value.refresh(), value.value) == (True, 22)
    assert (value.refresh(), value.value) == (False, 22)


def test_a_file_of_the_same_size_and_time_is_another(number, tmp_path):
    path, value = number
    before = path.stat()
    (tmp_path / "new").write_text("2")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").rename(path)
    assert (value.refresh(), value.value) == (True, 2)


def test_a_link_that_leads_elsewhere_is_noticed(tmp_path):
    """Kubernetes changes the files of a Secret in this way."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    link.symlink_to("one")
    value = Reloaded([link], link.read_text)
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(link)
    assert (value.refresh(), value.value) == (True, "two")


def test_what_cannot_be_used_leaves_the_value_and_is_said_once(number, caplog):
    path, value = number
    for breaks in (lambda: path.write_text("many"), path.unlink):
        breaks()
        caplog.clear()
        assert [value.refresh(), value.refresh()] == [False, False]
        assert value.value == 1
        [record] = caplog.records
        assert record.levelno == logging.ERROR
        assert record.getMessage() == "number must be a number; what was read before stays in use"
    path.write_text("3")
    assert (value.refresh(), value.value) == (True, 3)


def test_at_first_what_cannot_be_used_is_an_error(tmp_path):
    def read():
        raise ConfigError("number", "must be a number")

    with pytest.raises(ConfigError):
        Reloaded([tmp_path / "none"], read)
