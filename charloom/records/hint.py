"""Finds out whether a text that is read as one looks like many: its lines are short and stand alone."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from charloom.records.table import is_table
from charloom.texts import Texts

SAMPLE = 200_000
"""Characters that are looked at."""
FEWEST = 20
"""Lines below which nothing is said."""
SHORT = 200
"""Characters of a line that is not short."""


def records_hint(texts: Texts, sample: str) -> str | None:
    """What to tell of files that are read as one continuous text; None if they look like one.

    Args:
        texts: the files.
        sample: their beginning, of SAMPLE characters or more if they have so many.
    """
    if all(is_table(file) for file in texts.files):
        return "is read as plain text: --text-column would read a column, each row as a record"
    if looks_like_records(sample):
        return "nearly every line is short and stands alone: --records lines would read each as a record"
    return None


def looks_like_records(sample: str) -> bool:
    """Whether nearly every line of a text is short and stands alone, as names, titles and log lines do.

    Lines of prose that is broken at a width do not, nor verses, nor lines of source code.
    """
    every = sample[:SAMPLE].split("\n")[:-1]
    lines = [line for line in every if line.strip()]
    if len(lines) < FEWEST or share(lines, lambda line: len(line) < SHORT) < 0.95:
        return False
    if len(lines) < 0.98 * len(every):  # blank lines divide paragraphs, speeches, stanzas
        return False
    if like_a_table(lines):
        return True
    return not (indented(lines) or like_verse(lines) or broken_at_a_width(lines))


def share(lines: Sequence[str], holds: Callable[[str], bool]) -> float:
    """The share of lines for which something holds."""
    return sum(map(holds, lines)) / len(lines)


def like_a_table(lines: Sequence[str]) -> bool:
    """Whether nearly all lines have as many of a delimiter as the middle one of them, sorted by that."""
    for delimiter in "\t,;|":
        counts = sorted(line.count(delimiter) for line in lines)
        middle = counts[len(counts) // 2]
        if middle and counts.count(middle) >= 0.9 * len(counts):
            return True
    return False


def indented(lines: Sequence[str]) -> bool:
    """Whether many lines belong to one before them, as in source code."""
    return share(lines, lambda line: line[0] in " \t") > 0.1


def like_verse(lines: Sequence[str]) -> bool:
    """Whether many lines, but not nearly all, end within a sentence, or a statement, and say so."""
    return 0.1 < share(lines, lambda line: line.rstrip()[-1] in ",;:{") < 0.9


def broken_at_a_width(lines: Sequence[str]) -> bool:
    """Whether lines end where the next word would not fit, and the next goes on with a small letter."""
    width = sorted(map(len, lines))[int(0.95 * len(lines))]
    pairs = list(pairwise(lines))
    full = sum(len(line) + 1 + len(after.split(maxsplit=1)[0]) > width for line, after in pairs)
    going_on = sum(line.rstrip()[-1] not in ".!?" and after.lstrip()[0].islower() for line, after in pairs)
    words = sum(len(line.split()) for line in lines) / len(lines)
    return words >= 4 and full > 0.7 * len(pairs) and going_on > 0.4 * len(pairs)
