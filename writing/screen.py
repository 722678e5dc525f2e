"""The screen: a text, what may come next, a status line, a line of keys."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from writing.dialogs import Ask, Choose
from writing.forecast import Forecast
from writing.keys import Action, meaning
from writing.legend import Legend
from writing.text_view import TextView
from writing.writer import View

DEFAULT_NAME = "story.txt"


class WritingScreen(Screen[None]):
    """Keys become actions, for others to do; what came of them is shown."""

    ALLOW_SELECT = False

    class Wanted(Message):
        """Somebody wants something done."""

        def __init__(self, action: Action, argument: str = "") -> None:
            super().__init__()
            self.action: Action = action
            self.argument = argument

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._path = DEFAULT_NAME
        self._warned = False

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Static(id="title", markup=False)
        with Horizontal():
            yield TextView()
            yield Forecast(markup=False)
        yield Static(id="status", markup=False)
        yield Legend(markup=False)

    def on_mount(self) -> None:
        """Shows what there is at the beginning."""
        self.show(self._view, "")

    def show(self, view: View, status: str | None) -> None:
        """Shows a text and a status line."""
        self._view = view
        self.query_one("#title", Static).update(title(view))
        pieces = [(view.before, "before"), *((edit.text, edit.author) for edit in view.edits)]
        self.query_one(TextView).show(pieces)
        self.query_one(Forecast).show(view.suggestions)
        if status is not None:
            self.say(status)
        self.set_class(view.gone, "-gone")

    def say(self, status: str) -> None:
        """Shows a status line."""
        self.query_one("#status", Static).update(Content(status.replace("\n", " ")))

    def on_key(self, event: events.Key) -> None:
        """Does what the key means; keys without a meaning do nothing."""
        event.stop()
        event.prevent_default()
        known = meaning(event.key, event.character)
        if known is not None:
            self._mean(*known)

    def on_paste(self, event: events.Paste) -> None:
        """Types all of it, digits too."""
        event.stop()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        if text:
            self.want("type", text)

    def want(self, action: Action, argument: str = "") -> None:
        """Asks for something to be done."""
        self._warned = False
        self.query_one(TextView).follow()
        self.post_message(self.Wanted(action, argument))

    def _mean(self, action: Action, argument: str) -> None:
        """Does by itself what concerns the screen, and asks for more where there is more to know."""
        match action:
            case "older":
                self.query_one(TextView).older()
            case "newer":
                self.query_one(TextView).newer()
            case "quit":
                self._quit()
            case "fork":
                question = f"{self._view.current!r} stays as it is. A name for the new version:"
                self._ask(Ask(question, free_name(self._view.versions)), action)
            case "versions":
                self._ask(Choose("Go on in", self._view.versions, self._view.current), action)
            case "save":
                self._ask(Ask("Save the text as (its state beside it):", self._path), action)
            case _:
                self.want(action, argument)

    def _ask(self, dialog: Ask | Choose, action: Action) -> None:
        """Asks a question, and wants something done with the answer."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._path = answer if action == "save" else self._path
                self.want(action, answer)

        self.app.push_screen(dialog, answered)

    def _quit(self) -> None:
        """Leaves, but says once what would be lost."""
        if self._view.unsaved and not self._warned:
            self.say(f"not saved: {', '.join(self._view.unsaved)}; ^S saves, ^Q again leaves all the same")
            self._warned = True
        else:
            self.want("quit")


def title(view: View) -> Content:
    """The model, the versions and the length."""
    names = [(f" {name} ", "reverse" if name == view.current else "$text-muted") for name in view.versions]
    length = len(view.before) + sum(len(edit.text) for edit in view.edits)
    return Content.assemble(
        (view.model, "bold $primary"), "  ", *names, (f"  {length:,} characters", "$text-muted")
    )


def free_name(taken: tuple[str, ...]) -> str:
    """A name that no version has."""
    number = len(taken) + 1
    while (name := f"version {number}") in taken:
        number += 1
    return name
