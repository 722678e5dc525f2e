"""The verdict on a long run: what the server held, and whether it kept anything.

It knows samples and counts, and not how they came about.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.outcome import print_outcome
from chaos.samples import Sample

GROWTH, SLACK = 0.05, 10.0
"""How much memory may grow from the second quarter to the last, by their medians: a share, and MiB on top."""
CURVES = {
    "memory": "memory, MiB",
    "threads": "threads",
    "files": "open files",
    "active": "slots in use",
    "waiting": "waiting",
}
"""What is drawn of a sample."""


@dataclass(frozen=True)
class Verdict:
    """A run, once it is over."""

    minutes: float
    samples: Sequence[Sample]
    """Under load."""
    before: Sample
    """Of the quiet server, after a first crowd ..."""
    after: Sample
    """... and in the end."""
    texts: int
    """That were read to their end."""
    came: int
    """Clients of crowds."""
    refused: int
    """Those of them who were told that all places are taken ..."""
    unexpected: int
    """... or something else that was no loss of their connection."""
    nonsense: int
    accepted: int
    """Pieces of nonsense that were not refused."""
    tracebacks: int
    """In what the server said."""

    @property
    def memory(self) -> tuple[float, float]:
        """MiB in the second quarter and in the last, medians."""
        quarter = max(1, len(self.samples) // 4)
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        return median(early), median(late)

    def print(self) -> None:
        """Prints what happened, and what failed."""
        print_outcome(self._figures(), list(self.failures()))

    def _figures(self) -> Iterator[tuple[str, str]]:
        early, late = self.memory
        before, after = self.before, self.after
        yield "minutes", f"{self.minutes:g}"
        yield "texts read to their end", f"{self.texts:,}"
        yield "clients of crowds, who left in the middle", f"{self.came:,}"
        yield "of them refused, since all places were taken", f"{self.refused:,}"
        yield "pieces of nonsense", f"{self.nonsense:,}"
        yield "most slots in use, most streams waiting", f"{self._most('active')}, {self._most('waiting')}"
        yield "memory, second quarter and last, MiB", f"{early:.0f}, {late:.0f}"
        yield "the quiet server's memory, before and after, MiB", f"{before.memory:.0f}, {after.memory:.0f}"
        yield "its threads", f"{before.threads}, {after.threads} ({after.names})"
        yield "its open files", f"{before.files}, {after.files}"
        yield "its slots in use", f"{before.active}, {after.active}"

    def _most(self, name: str) -> int:
        return max(int(getattr(sample, name)) for sample in self.samples)

    def failures(self) -> Iterator[str]:
        """What is not as it should be, in words."""
        early, late = self.memory
        if late > (most := early * (1 + GROWTH) + SLACK):
            yield f"memory grew from {early:.0f} to {late:.0f} MiB; at most {most:.0f} are allowed"
        yield from self.after.kept_since(self.before)
        for what, found in (
            ("slots in use in the end", self.after.active),
            ("streams that wait in the end", self.after.waiting),
            ("pieces of nonsense that were not refused", self.accepted),
            ("clients of crowds who were told something unexpected", self.unexpected),
            ("tracebacks in what the server said", self.tracebacks),
        ):
            if found:
                yield f"{what}: {found}"
        if not self.refused:
            yield "nobody was refused: the crowds were too small"


def median(samples: Sequence[Sample]) -> float:
    """Of their memory."""
    return statistics.median(sample.memory for sample in samples)
