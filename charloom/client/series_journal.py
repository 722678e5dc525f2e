"""The journal of a series: which of its texts are still missing, in little memory however many there are."""

import charloom.v1.charloom_pb2 as pb

MAX_COUNT = 2**32 - 1
"""Texts of one call, beside those that are named one by one."""


class SeriesJournal:
    """The indexes of the texts that are missing: some one by one, and all from one on.

    Texts begin in order and end in any, so those that are missing before the last that has ended are no more
    than run at the same time.
    """

    def __init__(self, indexes: range) -> None:
        self.unfinished: set[int] = set()
        """Indexes before that of the last text that has ended."""
        self.rest = indexes
        """All after it."""

    @property
    def left(self) -> bool:
        """Whether any text is missing."""
        return bool(self.unfinished or self.rest)

    def finish(self, index: int) -> None:
        """Takes note of a text that has ended."""
        if index in self.unfinished:
            self.unfinished.remove(index)
            return
        place = self.rest.index(index)
        self.unfinished.update(self.rest[:place])
        self.rest = self.rest[place + 1 :]

    def fill(self, request: pb.GenerateSeriesRequest) -> None:
        """Sets the fields of a request that say which texts it is for."""
        request.indexes.extend(sorted(self.unfinished))
        if self.rest:
            request.first, request.stride = self.rest.start, self.rest.step
            request.count = min(len(self.rest), MAX_COUNT)
