"""The tally: what became of the attempts."""

from enum import IntEnum

import msgspec


class Fate(IntEnum):
    """What became of one attempt."""

    DELIVERED = 0
    UNENDED = 1
    """Its full length ended it, where something else could."""
    EMPTY = 2
    UNMATCHED = 3
    SEPARATED = 4
    """It has what separates the records of a plain text, so it would be read as two."""
    COPIED = 5
    """A record of the training text, as far as the novelty filter can tell."""
    DOUBLE = 6


class Tally(msgspec.Struct):
    """How many attempts met each fate."""

    delivered: int = 0
    unended: int = 0
    empty: int = 0
    unmatched: int = 0
    separated: int = 0
    copied: int = 0
    double: int = 0

    def add(self, fates: list[Fate]) -> None:
        """Counts attempts."""
        for fate in Fate:
            name = fate.name.lower()
            setattr(self, name, getattr(self, name) + fates.count(fate))

    @property
    def made(self) -> int:
        """All attempts."""
        return sum(msgspec.structs.astuple(self))

    @property
    def invalid(self) -> int:
        """Attempts that are no records of the kind that is wanted."""
        return self.unended + self.empty + self.unmatched + self.separated

    def line(self) -> str:
        """The tally in words."""
        reasons = {
            "without an end": self.unended,
            "empty": self.empty,
            "without a match": self.unmatched,
            "with the separator": self.separated,
        }
        why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        return (
            f"{self.delivered:,} records of {self.made:,} attempts: {self.invalid:,} invalid"
            + (f" ({why})" if why else "")
            + f", {self.double:,} double, {self.copied:,} copied"
        )
