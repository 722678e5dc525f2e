"""Printable text: what a terminal, a log line or a page shows as it stands, whoever wrote it."""

import unicodedata

TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Embeddings, overrides and isolates of writing direction, which reach beyond the text they are in."""
STEERING = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories of controls, lone surrogates, and separators of lines and paragraphs."""


def printable(text: str, *, keep: str = "", strict: bool = False) -> str:
    r"""Replaces the characters that steer a terminal or break a line by Python's escapes, such as `\x1b`.

    Spaces, joiners and direction marks of all scripts stay, since they make up what people read. Bytes of a
    file's name that are no UTF-8, which Python holds as lone surrogates, are escaped too.

    Args:
        text: any text, of one line or several.
        keep: characters that stay in any case: "\n" or "\n\t" for a text that is shown in its lines.
        strict: whether to escape all that `str.isprintable` refuses, for names and single tokens, in which
            no character may go unseen.
    """
    return "".join(
        escaped(character) if character not in keep and hidden(character, strict) else character
        for character in text
    )


def hidden(character: str, strict: bool) -> bool:
    """Whether a character steers a terminal or, if `strict`, does not show itself."""
    if character.isprintable():
        return False
    return strict or character in TURNS or unicodedata.category(character) in STEERING


def escaped(character: str) -> str:
    """A character as Python writes it in a string."""
    return character.encode("unicode_escape").decode("ascii")
