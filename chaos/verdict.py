"""The verdict on a soak test: what the server held, and whether it leaked anything."""

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
"""Names of the curves, by field of a sample."""


@dataclass(frozen=True)
class Verdict:
    """A soak test, once it is over."""

    minutes: float
    samples: Sequence[Sample]
    """Samples under load."""
    before: Sample
    """Sample of the idle server, after a first crowd ..."""
    after: Sample
    """... and in the end."""
    texts: int
    """Texts that were read to their end."""
    came: int
    """Clients of crowds."""
    refused: int
    """Those of them that were refused since the server was full ..."""
    unexpected: int
    """... or for another reason, a lost connection excepted."""
    nonsense: int
    """Malformed requests."""
    accepted: int
    """Malformed requests that were not refused."""
    tracebacks: int
    """Tracebacks in the server's log."""

    @property
    def memory(self) -> tuple[float, float]:
        """Memory in the second quarter and in the last: medians in MiB."""
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
        """The demands that were not met, in words."""
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
    """The median of the samples' memory."""
    return statistics.median(sample.memory for sample in samples)
