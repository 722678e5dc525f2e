"""Characters as a terminal can show them: what has no picture, or one that misleads, gets another."""

import unicodedata

from charloom.printable import printable

PICTURES = {"\n": "↵", " ": "␣", "\t": "⇥", "\x7f": "␡"}
TABULATOR = "    "


def visible(token: str) -> str:
    """A token, all of which is to be seen."""
    return "".join(map(picture, token))


def picture(character: str) -> str:
    """A character, or a sign for it."""
    if character in PICTURES:
        return PICTURES[character]
    kind = unicodedata.category(character)
    if character < " ":
        return chr(0x2400 + ord(character))
    if kind in {"Mn", "Me", "Mc"}:  # stands above or below another
        return "◌" + character
    return f"U+{ord(character):04X}" if kind[0] in "CZ" else character


def harmless(text: str) -> str:
    """A text in its lines, without what a terminal would obey."""
    return printable(text.replace("\t", TABULATOR), keep="\n")


BLOCKS = " ▏▎▍▌▋▊▉"


def bar(share: float, width: int) -> str:
    """A bar of a share, 0 to 1, of a width in characters, exact to an eighth of one."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    return ("█" * (eighths // 8) + BLOCKS[eighths % 8].strip()).ljust(width)
