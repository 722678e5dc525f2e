"""What each key does; keys have the names that Textual gives them."""

from dataclasses import dataclass
from typing import Literal

Action = Literal[
    "type", "pick", "go", "line", "sentence", "undo", "redo", "erase",
    "fork", "versions", "save", "reconnect", "quit", "older", "newer",
]  # fmt: skip


@dataclass(frozen=True)
class KeyBinding:
    """A key that does something else than type itself."""

    names: tuple[str, ...]
    action: Action
    label: str = ""
    """How it is shown in the line of keys; one without a label isn't."""
    word: str = ""
    """What it does, in the line of keys."""
    text: str = ""
    """What it types."""


KEYS = (
    KeyBinding(("tab",), "go", "Tab", "write on / stop"),
    KeyBinding(("ctrl+e",), "sentence", "^E", "sentence"),
    KeyBinding(("ctrl+l",), "line", "^L", "line"),
    KeyBinding(("ctrl+z",), "undo", "^Z", "undo"),
    KeyBinding(("ctrl+y",), "redo", "^Y", "redo"),
    KeyBinding(("ctrl+f",), "fork", "^F", "fork"),
    KeyBinding(("ctrl+o",), "versions", "^O", "versions"),
    KeyBinding(("ctrl+s",), "save", "^S", "save"),
    KeyBinding(("ctrl+r",), "reconnect", "^R", "reconnect"),
    KeyBinding(("ctrl+q", "ctrl+c"), "quit", "^Q", "quit"),
    KeyBinding(("enter", "ctrl+j"), "type", text="\n"),
    KeyBinding(("backspace", "ctrl+h"), "erase"),
    KeyBinding(("pageup",), "older"),
    KeyBinding(("pagedown",), "newer"),
)
MEANINGS = {name: key for key in KEYS for name in key.names}
DIGITS = "1234567890"
"""The keys of the suggestions, in their order."""
ALT = "alt+"
"""With it, a digit is typed."""


def meaning(name: str, character: str | None) -> tuple[Action, str] | None:
    """What a key does, and with what: the text to type, or the place of a suggestion from 0."""
    if name in MEANINGS:
        return MEANINGS[name].action, MEANINGS[name].text
    if name.startswith(ALT) and name.removeprefix(ALT) in DIGITS:
        return "type", name.removeprefix(ALT)
    if name in DIGITS:
        return "pick", str(DIGITS.index(name))
    if character and character.isprintable():
        return "type", character
    return None
