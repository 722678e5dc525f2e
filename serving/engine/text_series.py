"""A series of texts: many of one request, some at a time; as one ends, the next takes its place."""

from collections.abc import Iterable

import numpy as np

from charloom.options import seed_of
from charloom.vocabulary import Vocabulary
from serving.engine.request import Request
from serving.engine.snapshot import Snapshot
from serving.engine.stream import Stream, stop_checker

MAX_HELD = 4096
"""Tokens of a text that is to come whole, at the most; more come in parts."""


class TextSeries:
    """Makes the streams of a series one after another, each with the seed of its index.

    Only the engine's thread changes it, but for three fields: the reader of the texts increases `consumed`,
    and may set `aborted` and `closed`.
    """

    def __init__(
        self,
        request: Request,
        indexes: Iterable[int],
        count: int,
        parallel: int,
        vocabulary: Vocabulary,
        deadline: float | None = None,
        *,
        whole: bool = False,
    ) -> None:
        """Begins no text yet.

        Args:
            request: what all texts have in common; its seed is that of the text at index 0.
            indexes: which texts, in the order in which they begin.
            count: how many there are; at least one.
            parallel: how many run or wait for a slot at the same time, at the most.
            vocabulary: the model's.
            deadline: seconds on the clock of `time.monotonic`, of all texts together.
            whole: whether texts may be handed out whole, after their end, which costs less.
        """
        self.request = request
        self.count = count
        self.parallel = min(parallel, count)
        self._indexes = iter(indexes)
        self._vocabulary = vocabulary
        self._deadline = deadline
        # What may begin a stop string is held back by the detokenizer; without any, nothing needs text.
        self.holds = whole and not request.stop and request.logprobs is None
        """Whether tokens are held back until one of `ends` comes."""
        self.stops = stop_checker(request, vocabulary)
        self.ends = np.array([*self.stops.tokens], np.int64)
        """The tokens that end a text."""
        self._after_prompt: Snapshot | None = None
        self.begun = 0
        """Texts that have begun."""
        self.running = 0
        """Texts that have begun and not ended; kept up to date until it is aborted."""
        self.released = 0
        """Tokens that were handed out, and one more for each text that ended, so that empty ones count ..."""
        self.consumed = 0
        """... and what the reader has taken of them."""
        self._tokens = 0
        self._ends = 0
        """Of the texts that ended: their tokens, and how many did not end by their length."""
        self.closed = False
        """Whether no more texts are to begin."""
        self.aborted = False

    @property
    def needs_state(self) -> bool:
        """Whether the prompt was not read yet: the first text reads it for all."""
        return self._after_prompt is None and self.request.forced > 0

    @property
    def unread(self) -> int:
        """Tokens of each text that its reader has not taken, on the average."""
        return (self.released - self.consumed) // self.parallel

    @property
    def complete(self) -> bool:
        """Whether all texts have begun and ended."""
        return self.begun == self.count and not self.running

    @property
    def end_rate(self) -> float:
        """How likely a text ends with its next token, by those that have ended."""
        return self._ends / max(1, self._tokens)

    def count_end(self, tokens: int, *, by_length: bool) -> None:
        """Counts a text that has ended after so many tokens, by its full length or otherwise."""
        self.released += 1
        self._tokens += tokens + (not by_length)
        self._ends += not by_length

    def first(self) -> list[Stream]:
        """Begins the first texts, as many as run at the same time."""
        self.running = self.parallel
        return [self._begin() for _ in range(self.parallel)]

    def next(self) -> Stream | None:
        """Begins the text that takes the place of one that has ended; None if there is none."""
        if self.closed or self.aborted or self.begun == self.count:
            self.running -= 1
            return None
        return self._begin()

    def start_from(self, snapshot: Snapshot) -> None:
        """Has all texts that begin from now on start after the prompt."""
        self._after_prompt = snapshot

    def _begin(self) -> Stream:
        index = next(self._indexes)
        self.begun += 1
        seed = seed_of(self.request.seed, index)
        stream = Stream(self.request, self._vocabulary, self._deadline, index=index, series=self, seed=seed)
        if self._after_prompt is not None:
            stream.start_from(self._after_prompt)
        return stream
