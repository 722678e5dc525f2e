"""A draft: the edits by which a text came about, to go back and forth in.

It never changes, so that versions can share it.
"""

from dataclasses import dataclass, replace
from typing import Literal

Author = Literal["you", "model"]


@dataclass(frozen=True)
class Edit:
    """What was added at once, and by whom; what is undone at once."""

    text: str
    author: Author


@dataclass(frozen=True)
class Draft:
    """The edits of a text, oldest first, and those that were undone, the next to be redone last."""

    edits: tuple[Edit, ...] = ()
    undone: tuple[Edit, ...] = ()

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(edit.text for edit in self.edits)

    def added(self, text: str, author: Author) -> "Draft":
        """With one more edit, unless it is empty; what was undone cannot be redone then."""
        return Draft((*self.edits, Edit(text, author))) if text else self

    def typed(self, text: str) -> "Draft":
        """With what you typed: a word becomes one edit, however many keys it takes."""
        if self.edits and self.edits[-1].author == "you" and same_word(self.edits[-1].text, text):
            return Draft((*self.edits[:-1], Edit(self.edits[-1].text + text, "you")))
        return self.added(text, "you")

    def retyped(self, count: int, text: str) -> "Draft":
        """With what you typed in place of the last so many characters, with which it may begin."""
        last = self.text[len(self.text) - count :]
        if text.startswith(last):
            return self.typed(text[count:])
        edits = list(self.edits)
        while count:
            edit = edits.pop()
            kept = edit.text[: max(0, len(edit.text) - count)]
            count -= len(edit.text) - len(kept)
            edits += [replace(edit, text=kept)] if kept else []
        return Draft(tuple(edits)).typed(text)

    def back(self) -> "Draft":
        """Without the last edit, which can be redone."""
        return Draft(self.edits[:-1], (*self.undone, self.edits[-1]))

    def forth(self) -> "Draft":
        """With the edit that was undone last."""
        return Draft((*self.edits, self.undone[-1]), self.undone[:-1])

    def erased(self) -> "Draft":
        """Without the last character, which can be redone."""
        last = self.edits[-1]
        rest = (replace(last, text=last.text[:-1]),) if len(last.text) > 1 else ()
        return Draft((*self.edits[:-1], *rest), (*self.undone, replace(last, text=last.text[-1])))


def same_word(begun: str, more: str) -> bool:
    """Whether what is typed goes on with a word, or with the space after it."""
    return not (begun[-1:].isspace() and not more[:1].isspace())
