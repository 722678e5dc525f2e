"""The suggestions: tokens that may come next, bars, and the digits that pick them."""

import math
from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from writing.glyphs import bar, visible
from writing.keys import DIGITS
from writing.writer import Suggestion

WIDTH = 12
"""Characters of the longest bar."""


class Forecast(Static):
    """A line for each suggestion."""

    def show(self, suggestions: Sequence[Suggestion]) -> None:
        """Shows tokens and their log-probabilities; without any, the last ones, dimmed."""
        self.set_class(not suggestions, "-old")
        if suggestions:
            rows = [row(*one) for one in zip(DIGITS, suggestions, strict=False)]
            self.update(Content("\n").join(rows))


def row(digit: str, suggestion: Suggestion) -> Content:
    """One suggestion: its digit, itself, its bar and its share."""
    share = math.exp(suggestion.logprob)
    name = Content(visible(suggestion.text))
    padding = " " * max(1, 3 - name.cell_length)
    return Content.assemble(
        (digit, "$text-muted"), " ", (name.plain, "bold"), padding,
        (bar(share, WIDTH), "$primary"), (f" {percent(share):>4}", "$text-muted"),
    )  # fmt: skip


def percent(share: float) -> str:
    """A share in words."""
    return f"{share:.0%}" if share >= 0.005 else "<1%"
