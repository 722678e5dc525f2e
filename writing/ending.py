"""Where the model is to stop writing by itself. It knows texts alone."""

import re
from collections.abc import Mapping

Ending = re.Pattern[str]

LINE = re.compile(r"\n")
SENTENCE = re.compile(r"""\S\n(?=\n)|[.!?…]["'”’»)\]]*(?=\s)|[。！？]""")  # noqa: RUF001
"""The marks that end a sentence, once it is sure that a space follows them; or the end of a paragraph."""

ENDINGS: Mapping[str, Ending | None] = {"go": None, "line": LINE, "sentence": SENTENCE}
"""Where each way to write on ends."""


def past(ending: Ending | None, text: str) -> int | None:
    """How many characters of a text lie past its ending; None if it hasn't come yet."""
    found = ending.search(text) if ending else None
    return len(text) - found.end() if found else None
