"""The text so far, in two colours, at its end unless somebody scrolls."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from writing.glyphs import harmless

Piece = tuple[str, str]
"""A text and its style."""
STYLES = {"before": "$text-muted", "you": "bold $text-warning", "model": "$text"}
CURSOR = (" ", "reverse")
FRESH = 2_000
"""Characters at the end that are laid out anew with each that is added; those before, seldom."""


class TextView(VerticalScroll, can_focus=False):
    """Two parts: one that is settled, and one that changes."""

    def __init__(self) -> None:
        super().__init__()
        self._settled: list[Piece] = []
        self._followed = True

    def compose(self) -> ComposeResult:
        """The two parts."""
        yield Static(id="settled", markup=False)
        yield Static(id="fresh", markup=False)

    def show(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Shows what was written: texts, each with who wrote it."""
        styled = [(harmless(text), STYLES[author]) for text, author in pieces]
        text = "".join(text for text, _ in styled)
        before, fresh = split(styled, cut(text))
        if before != self._settled:
            self._settled = before
            settled = self.query_one("#settled", Static)
            settled.update(Content.assemble(*before[:-1], *ended(before[-1:])))
            settled.display = bool(before)
        self.query_one("#fresh", Static).update(Content.assemble(*fresh, CURSOR))
        if self._followed:
            self.follow()

    def follow(self) -> None:
        """Stays at the end from now on."""
        self._followed = True
        self.scroll_end(animate=False)

    def older(self) -> None:
        """Goes a page back, and stays there."""
        self._followed = False
        self.scroll_page_up(animate=False)

    def newer(self) -> None:
        """Goes a page forth; at the end, stays there."""
        self.scroll_page_down(animate=False)
        self._followed = self.scroll_target_y >= self.max_scroll_y


def cut(text: str) -> int:
    """How much of a text is settled: lines, so that it can be laid out by itself; seldom more or less."""
    return text.rfind("\n", 0, max(0, len(text) // FRESH - 1) * FRESH) + 1


def split(pieces: Sequence[Piece], place: int) -> tuple[list[Piece], list[Piece]]:
    """The pieces before a place in their text, and those after it."""
    before, after, seen = list[Piece](), list[Piece](), 0
    for text, style in pieces:
        own = min(max(place - seen, 0), len(text))
        before += [(text[:own], style)] if own else []
        after += [(text[own:], style)] if own < len(text) else []
        seen += len(text)
    return before, after


def ended(last: Sequence[Piece]) -> list[Piece]:
    """The last piece without the end of its line, which the part's own end is."""
    return [(text.removesuffix("\n"), style) for text, style in last]
