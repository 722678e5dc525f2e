"""Shards: which of a job's attempts one machine makes."""

import re
from dataclasses import dataclass

from charloom.errors import require


@dataclass(frozen=True)
class Shard:
    """The attempts whose numbers leave a remainder: every one for 0/1."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, word: str) -> "Shard":
        """Reads INDEX/COUNT, such as 3/8.

        Raises:
            ConfigError: it is something else.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", word)
        reason = f"must be INDEX/COUNT with an index from 0 to COUNT - 1, such as 3/8, not {word!r}"
        require(found is not None and int(found[1]) < int(found[2]), "shard", reason)
        assert found is not None
        return cls(int(found[1]), int(found[2]))

    def numbers(self, end: int) -> range:
        """Its attempts below a number."""
        return range(self.index, end, self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
