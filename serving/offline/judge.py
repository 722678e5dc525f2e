"""The judge: which attempts become records, in the order of their numbers."""

import re
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

from charloom.novelty import NoveltyFilter
from charloom.records.record_hash import record_hash
from serving.offline.attempt import Attempt
from serving.offline.doubles import Doubles
from serving.offline.formats import RecordFormat
from serving.offline.tally import Fate


class Judged(NamedTuple):
    """An attempt, what became of it, and the hash of its text; none of one that was dropped before."""

    attempt: Attempt
    fate: Fate
    hash: bytes


class Judge:
    """Decides the fate of attempts."""

    def __init__(
        self,
        written: RecordFormat,
        doubles: Doubles | None = None,
        pattern: re.Pattern[str] | None = None,
        novelty: NoveltyFilter | None = None,
        prompt: str = "",
        *,
        must_end: bool = True,
    ) -> None:
        """Says what a record is.

        Args:
            written: the format that must hold it.
            doubles: the records so far, if none may come twice.
            pattern: what it must match as a whole.
            novelty: what it must not be in, after the prompt.
            prompt: the beginning of each record that no attempt repeats.
            must_end: whether an attempt of full length is none.
        """
        self.written = written
        self.doubles = doubles
        self.pattern = pattern
        self.novelty = novelty
        self.prompt = prompt
        self.must_end = must_end

    def judge(self, attempts: Sequence[Attempt]) -> list[Judged]:
        """Returns the fate of attempts that come after those judged before.

        Raises:
            OSError: the disk is full, or fails.
        """
        fates = [self._by_itself(attempt) for attempt in attempts]
        hashes = [b""] * len(attempts)
        passed = [place for place, fate in enumerate(fates) if fate is Fate.DELIVERED]
        if self.novelty is not None and passed:
            copies = self.novelty.holds([record_hash(self.prompt + attempts[i].text) for i in passed])
            for place in compress(passed, copies.tolist()):
                fates[place] = Fate.COPIED
            passed = list(compress(passed, (~copies).tolist()))
        for place in passed:
            hashes[place] = record_hash(attempts[place].text)
        if self.doubles is not None:
            double = self.doubles.add([hashes[place] for place in passed])
            for place in compress(passed, double):
                fates[place] = Fate.DOUBLE
        return list(map(Judged, attempts, fates, hashes))

    def _by_itself(self, attempt: Attempt) -> Fate:
        """The fate of an attempt as far as nothing but its text decides it."""
        text = attempt.text
        if self.must_end and not attempt.ended:
            return Fate.UNENDED
        if not text:
            return Fate.EMPTY
        if self.pattern is not None and self.pattern.fullmatch(text) is None:
            return Fate.UNMATCHED
        return Fate.DELIVERED if self.written.holds(text) else Fate.SEPARATED
