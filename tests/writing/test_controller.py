"""The controller: jobs in their order, in a thread of its own; what fails becomes a status line."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.writing.fake import FakeSession
from writing.controller import Controller
from writing.writer import View, Writer


class Seen:
    """A controller with a fake session, and all that it showed."""

    def __init__(self, talk: FakeSession | None = None) -> None:
        self.talk = talk or FakeSession()
        self.shown: list[tuple[View, str | None]] = []
        self.broken: list[Exception] = []
        self.writer = Writer(lambda: self.talk, pause=0.01)
        self.controller = Controller(self.writer, lambda *shown: self.shown.append(shown), self.broken.append)

    def wait(self, what: Callable[[View, str], object]) -> None:
        deadline = time.monotonic() + 10
        while not (self.shown and what(self.shown[-1][0], self.shown[-1][1] or "")):
            assert time.monotonic() < deadline, self.shown[-3:]
            time.sleep(0.005)


def test_what_is_typed_comes_in_its_order() -> None:
    seen = Seen()
    for character in "ab ca":
        seen.controller.do("type", character)
    seen.wait(lambda view, _: [edit.text for edit in view.edits] == ["ab ", "ca"] and view.suggestions)
    seen.controller.close()
    assert not seen.broken


def test_what_is_refused_is_said_and_nothing_is_lost() -> None:
    seen = Seen()
    seen.controller.do("type", "a")
    seen.controller.do("type", "é")
    seen.controller.do("redo")
    seen.controller.do("pick", "9")
    seen.controller.do("type", "b")
    seen.controller.do("type", "é")
    seen.wait(lambda view, status: status == "unknown characters" and view.edits[-1].text == "ab")
    seen.controller.close()


def test_the_model_writes_until_it_is_stopped_and_any_key_stops_it() -> None:
    seen = Seen()
    seen.controller.do("go")
    assert seen.controller.writing
    seen.wait(lambda view, status: len(view.edits) == 1 and "Tab stops" in status)
    seen.controller.stop()
    assert not seen.controller.writing
    seen.wait(lambda view, status: status == "" and view.suggestions)
    seen.controller.do("go")
    seen.wait(lambda view, _: len(view.edits) == 2)
    seen.controller.do("type", "a")
    seen.wait(lambda view, _: len(view.edits) == 3 and view.edits[-1].text == "a" and view.suggestions)
    assert not seen.controller.writing
    seen.controller.close()


def test_a_key_that_is_pressed_twice_at_once_starts_nothing() -> None:
    seen = Seen()
    seen.controller.do("go")
    seen.controller.stop()
    seen.controller.do("type", "a")
    seen.wait(lambda view, _: bool(view.edits) and view.edits[-1].text == "a")
    assert len(seen.shown[-1][0].edits) <= 2
    seen.controller.close()


def test_a_server_that_goes_leaves_the_text(tmp_path: Path) -> None:
    seen = Seen()
    seen.controller.do("type", "ab")
    seen.wait(lambda view, _: view.edits and view.suggestions)
    seen.talk.gone = True
    seen.controller.do("type", "c")
    seen.wait(lambda view, status: view.gone and "^R reconnects" in status)
    seen.controller.do("save", str(tmp_path / "a.txt"))
    seen.wait(lambda view, status: "without a state" in status)
    assert (tmp_path / "a.txt").read_text() == "ab"
    seen.talk = FakeSession()
    seen.controller.do("reconnect")
    seen.controller.do("type", "c")
    seen.wait(lambda view, _: not view.gone and view.edits[-1].text == "abc")
    assert seen.talk.branches["first"] == "abc"
    seen.controller.close()


def test_text_and_state_are_saved_side_by_side(tmp_path: Path) -> None:
    seen = Seen()
    seen.controller.do("type", "ab")
    seen.controller.do("save", str(tmp_path / "none" / "a.txt"))
    seen.wait(lambda view, status: "cannot write" in status and view.unsaved)
    seen.controller.do("save", str(tmp_path / "a.txt"))
    seen.wait(lambda view, status: "saved" in status and not view.unsaved)
    seen.controller.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.txt": "ab",
        "a.txt.state": "ab",
    }


def test_an_error_that_nobody_expected_is_handed_on() -> None:
    seen = Seen()
    seen.wait(lambda view, _: view.suggestions)
    seen.talk.tokens.clear()
    seen.controller.do("type", "a")
    deadline = time.monotonic() + 10
    while not seen.broken:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert isinstance(seen.broken[0], KeyError)
    seen.controller.close()
