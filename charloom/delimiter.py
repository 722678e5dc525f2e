"""The delimiter of a model's records: what was between them in the training text, and is part of none."""

from collections.abc import Mapping
from typing import Any

NAMED = {"lines": "\n", "paragraphs": "\n\n"}
"""The delimiters that have names."""
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\0": "\0", r"\\": "\\"}
"""How a delimiter without a name is written."""


def delimiter_of(training: Mapping[str, Any]) -> str | None:
    """Returns the delimiter that the training of a bundle's manifest states.

    None if the records are rows of a table, which may hold anything, or the text is a continuous one.
    """
    text = training.get("text")
    records = text.get("records") if isinstance(text, dict) else None
    if not isinstance(records, dict) or records.get("text_column"):
        return None
    kind = records.get("records", "none")
    if not isinstance(kind, str) or kind in ("none", ""):
        return None
    return NAMED.get(kind) or unescaped(kind)


def unescaped(written: str) -> str:
    """Returns the delimiter that is written so."""
    parts, rest = "", written
    while rest:
        length = 2 if rest[:2] in ESCAPES else 1
        parts += ESCAPES.get(rest[:2], rest[:1])
        rest = rest[length:]
    return parts
