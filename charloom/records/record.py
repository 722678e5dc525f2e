"""A record: one of many texts that each begin and end, such as a title, a tweet or a row of a table."""

from dataclasses import dataclass

from charloom.errors import CharloomError


class RecordError(CharloomError):
    """Files cannot be read as records."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Record:
    """A text with a beginning and an end, and what it is labelled with."""

    text: str
    """At least one character, without the delimiter that ended it in a file."""
    labels: tuple[str, ...] = ()
    """A label for each label column, in their order."""
