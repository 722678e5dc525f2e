"""The terminal program: passes keys from the screen to the controller, and views back."""

import asyncio
import signal

from textual.app import App
from textual.message import Message

from writing.controller import Controller
from writing.screen import WritingScreen
from writing.writer import View, Writer

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class WriteApp(App[None], inherit_bindings=False):
    """Writing with a model."""

    CSS = """
    WritingScreen { layout: vertical; }
    #title { padding: 0 1; background: $panel; height: 1; }
    TextView { padding: 1 2; width: 1fr; }
    Forecast { width: 26; padding: 1 1; border-left: solid $panel; height: 100%; }
    Forecast.-old { text-opacity: 50%; }
    .-narrow Forecast { display: none; }
    #settled { display: none; }
    #status { padding: 0 1; height: auto; max-height: 3; color: $text-accent; min-height: 1; }
    .-gone #status { color: $text-error; }
    Legend { padding: 0 1; background: $panel; height: auto; min-height: 1; }
    Ask, Choose { align: center middle; }
    Ask > Vertical, Choose > Vertical {
        width: 60; max-width: 90%; height: auto; max-height: 80%; padding: 1 2; background: $panel;
    }
    """
    ENABLE_COMMAND_PALETTE = False

    class News(Message):
        """There is something to show."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-wide")]
        self._writer = writer
        self._controller: Controller | None = None
        self._news: tuple[View, str | None] = (writer.view, "")
        self.error: Exception | None = None
        """What ended it that nobody expected."""

    def get_default_screen(self) -> WritingScreen:
        """The one screen."""
        self._writing_screen = WritingScreen(self._writer.view)
        return self._writing_screen

    def on_mount(self) -> None:
        """A terminal that is closed, or a kill, ends it as a key does."""
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._end, 128 + number)

    def on_ready(self) -> None:
        """Begins as soon as there is a screen to show things on."""
        self._controller = Controller(self._writer, self._heard, self._broken)

    def on_unmount(self) -> None:
        """Lets nobody wait."""
        if self._controller is None:
            self._writer.close()
        else:
            self._controller.close()

    def on_writing_screen_wanted(self, event: WritingScreen.Wanted) -> None:
        """Has it done. The key that lets the model write also stops it."""
        if event.action == "quit":
            self._end(0)
        elif self._controller is None:
            return  # somebody is very quick
        elif event.action == "go" and self._controller.writing:
            self._controller.stop()
        else:
            self._controller.do(event.action, event.argument)

    def on_write_app_news(self) -> None:
        """Shows the newest there is; of several at once, the last alone."""
        self._writing_screen.show(*self._news)

    def _heard(self, view: View, status: str | None) -> None:
        """Called by the controller, in its thread."""
        self._news = view, status
        self.post_message(self.News())

    def _broken(self, error: Exception) -> None:
        """Called by the controller, in its thread."""
        self.error = error
        self.call_from_thread(self._end, 1)

    def _end(self, code: int) -> None:
        self.exit(return_code=code)
