"""The desk: jobs in their order, in a thread of its own; what fails becomes a status line."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.writing.fake import FakeTalk
from writing.desk import Desk
from writing.writer import View, Writer


class Seen:
    """A desk with a fake conversation, and all that it showed."""

    def __init__(self, talk: FakeTalk | None = None) -> None:
        self.talk = talk or FakeTalk()
        self.shown: list[tuple[View, str | None]] = []
        self.broken: list[Exception] = []
        self.writer = Writer(lambda: self.talk, pause=0.01)
        self.desk = Desk(self.writer, lambda *shown: self.shown.append(shown), self.broken.append)

    def wait(self, what: Callable[[View, str], object]) -> None:
        deadline = time.monotonic() + 10
        while not (self.shown and what(self.shown[-1][0], self.shown[-1][1] or "")):
            assert time.monotonic() < deadline, self.shown[-3:]
            time.sleep(0.005)


def test_what_is_typed_comes_in_its_order() -> None:
    seen = Seen()
    for character in "ab ca":
        seen.desk.do("type", character)
    seen.wait(lambda view, _: [step.text for step in view.steps] == ["ab ", "ca"] and view.suggestions)
    seen.desk.close()
    assert not seen.broken


def test_what_is_refused_is_said_and_nothing_is_lost() -> None:
    seen = Seen()
    seen.desk.do("type", "a")
    seen.desk.do("type", "é")
    seen.desk.do("redo")
    seen.desk.do("pick", "9")
    seen.desk.do("type", "b")
    seen.desk.do("type", "é")
    seen.wait(lambda view, status: status == "unknown characters" and view.steps[-1].text == "ab")
    seen.desk.close()


def test_the_model_writes_until_it_is_stopped_and_any_key_stops_it() -> None:
    seen = Seen()
    seen.desk.do("go")
    assert seen.desk.writing
    seen.wait(lambda view, status: len(view.steps) == 1 and "Tab stops" in status)
    seen.desk.stop()
    assert not seen.desk.writing
    seen.wait(lambda view, status: status == "" and view.suggestions)
    seen.desk.do("go")
    seen.wait(lambda view, _: len(view.steps) == 2)
    seen.desk.do("type", "a")
    seen.wait(lambda view, _: len(view.steps) == 3 and view.steps[-1].text == "a" and view.suggestions)
    assert not seen.desk.writing
    seen.desk.close()


def test_a_key_that_is_pressed_twice_at_once_starts_nothing() -> None:
    seen = Seen()
    seen.desk.do("go")
    seen.desk.stop()
    seen.desk.do("type", "a")
    seen.wait(lambda view, _: bool(view.steps) and view.steps[-1].text == "a")
    assert len(seen.shown[-1][0].steps) <= 2
    seen.desk.close()


def test_a_server_that_goes_leaves_the_text(tmp_path: Path) -> None:
    seen = Seen()
    seen.desk.do("type", "ab")
    seen.wait(lambda view, _: view.steps and view.suggestions)
    seen.talk.gone = True
    seen.desk.do("type", "c")
    seen.wait(lambda view, status: view.gone and "^R reconnects" in status)
    seen.desk.do("save", str(tmp_path / "a.txt"))
    seen.wait(lambda view, status: "without a state" in status)
    assert (tmp_path / "a.txt").read_text() == "ab"
    seen.talk = FakeTalk()
    seen.desk.do("reconnect")
    seen.desk.do("type", "c")
    seen.wait(lambda view, _: not view.gone and view.steps[-1].text == "abc")
    assert seen.talk.branches["first"] == "abc"
    seen.desk.close()


def test_text_and_state_are_saved_side_by_side(tmp_path: Path) -> None:
    seen = Seen()
    seen.desk.do("type", "ab")
    seen.desk.do("save", str(tmp_path / "none" / "a.txt"))
    seen.wait(lambda view, status: "cannot write" in status and view.unsaved)
    seen.desk.do("save", str(tmp_path / "a.txt"))
    seen.wait(lambda view, status: "saved" in status and not view.unsaved)
    seen.desk.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.txt": "ab",
        "a.txt.state": "ab",
    }


def test_an_error_that_nobody_expected_is_handed_on() -> None:
    seen = Seen()
    seen.wait(lambda view, _: view.suggestions)
    seen.talk.branches.clear()
    seen.desk.do("type", "a")
    deadline = time.monotonic() + 10
    while not seen.broken:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert isinstance(seen.broken[0], KeyError)
    seen.desk.close()
