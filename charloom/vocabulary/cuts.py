"""Cuts: where a text can be cut so that its parts have the tokens of the whole.

A text of any length is encoded block by block, as it comes in; how it is cut into pieces never changes its
tokens. Where there is no such place, it is cut after every `MAX_TOKEN` characters: no token is longer, and
what a text costs to encode grows no faster than its length, whatever is in it.
"""

import re
from collections.abc import Iterator

MAX_TOKEN = 1024
"""Most characters of a token."""
BLOCK = 8192
"""About how many characters are encoded at a time, between which other threads can run."""
AFTER_LINES = re.compile(r"(?<=\n)")
"""No token crosses a newline."""
BEFORE_SPACES = re.compile(r"(?<=\n)|(?<=[^\W_])(?= )")
"""Nor does a token go on with a space behind a letter or a digit, where tokens are words or parts of them."""


class Cutter:
    """Cuts one text that comes in pieces into blocks, each of which has tokens of its own."""

    def __init__(self, cuts: re.Pattern[str]) -> None:
        """Takes the places where the text can be cut."""
        self._cuts = cuts
        self._held = ""
        """What may still belong to a token with what comes next; shorter than `MAX_TOKEN`."""

    def put(self, piece: str) -> Iterator[str]:
        """Takes the next piece, and yields the blocks that are complete."""
        for begin in range(0, len(piece), BLOCK):
            *complete, last = self._cuts.split(self._held + piece[begin : begin + BLOCK])
            whole = len(last) // MAX_TOKEN * MAX_TOKEN
            yield from blocks([*complete, last[:whole]])
            self._held = last[whole:]

    def finish(self) -> Iterator[str]:
        """Yields the last block, if one is left; what is put afterwards is another text."""
        held, self._held = self._held, ""
        if held:
            yield held

    def cut(self, text: str) -> Iterator[str]:
        """Yields all blocks of a whole text."""
        yield from self.put(text)
        yield from self.finish()


def blocks(segments: list[str]) -> Iterator[str]:
    """Joins segments between two cuts to one block; where one is too long, it is cut, and none is joined."""
    if max(map(len, segments)) <= MAX_TOKEN:
        if block := "".join(segments):
            yield block
        return
    for segment in segments:
        for begin in range(0, len(segment), MAX_TOKEN):
            yield segment[begin : begin + MAX_TOKEN]
