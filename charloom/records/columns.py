"""The columns of a table, or the fields of an object, and what to tell where one is missing."""

from collections.abc import Sequence

from charloom.printable import printable
from charloom.records.record import RecordError

SHOWN = 20
"""Columns that a message names."""
WIDTH = 40
"""Characters of a name that it shows: what is taken for a header may be a row."""


def check_names(wanted: Sequence[str], noun: str, there: Sequence[str], place: str) -> None:
    """Raises RecordError for a column, or whatever the noun says, that is not there, or there twice."""
    for name in wanted:
        if (count := there.count(name)) != 1:
            has = f"{count} times the" if count else f"{listed(there)}, but no"
            raise RecordError(f"{place}: it has {has} {noun} {name!r}")


def listed(names: Sequence[str]) -> str:
    """The names of columns, as far as a message shows them."""
    shown = ", ".join(shortened(name) for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN:,} more" if len(names) > SHOWN else shown or "nothing"


def shortened(name: str) -> str:
    """The name of a column, as a message shows it."""
    name = printable(name, strict=True)
    return name if len(name) <= WIDTH else f"{name[:WIDTH]}..."
