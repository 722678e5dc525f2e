"""Questions that lie over the screen: one for a line of text, one for a choice."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

CANCEL: list[BindingType] = [Binding("escape,ctrl+q,ctrl+c", "dismiss", "cancel", priority=True)]


class Ask(ModalScreen[str | None]):
    """Asks for a line of text; None if there is no answer."""

    BINDINGS: ClassVar[list[BindingType]] = CANCEL

    def __init__(self, question: str, proposal: str) -> None:
        super().__init__()
        self._question, self._proposal = question, proposal

    def compose(self) -> ComposeResult:
        """The question and its line."""
        with Vertical():
            yield Static(self._question, markup=False)
            yield Input(self._proposal)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Gives the answer."""
        self.dismiss(event.value.strip() or None)


class Choose(ModalScreen[str | None]):
    """Asks for one of several; None if there is no answer."""

    BINDINGS: ClassVar[list[BindingType]] = CANCEL

    def __init__(self, question: str, choices: Sequence[str], current: str) -> None:
        super().__init__()
        self._question, self._choices, self._current = question, choices, current

    def compose(self) -> ComposeResult:
        """The question and what there is."""
        with Vertical():
            yield Static(self._question, markup=False)
            yield OptionList(*self._choices, markup=False)

    def on_mount(self) -> None:
        """Begins at the current one."""
        self.query_one(OptionList).highlighted = self._choices.index(self._current)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Gives the answer."""
        self.dismiss(self._choices[event.option_index])
