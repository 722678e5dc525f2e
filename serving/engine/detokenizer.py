"""Turns the sampled tokens of a stream into the text that may be sent.

It never cuts a character, and holds back what may turn out to be the beginning of a stop string. What is
sent in the end does not depend on how bursts happened to cut the text.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate

from charloom.vocabulary import Decoder
from serving.engine.sampled_tokens import SampledTokens, concatenate
from serving.engine.stop_checker import StopChecker


@dataclass(frozen=True)
class Released:
    """Tokens that may be sent, and their text."""

    sampled: SampledTokens
    texts: list[str]
    """[T]: the text that each of them completes; at a stop string the last may be cut."""
    stopped: bool = False
    """Whether a stop ended the text."""
    end: SampledTokens | None = None
    """The token that ended the record, if one did; it has no text and is not sent."""


class Detokenizer:
    """Holds the tokens of one stream until it is certain that no stop string begins in them."""

    def __init__(self, decoder: Decoder, stops: StopChecker, min_tokens: int = 0, sent: int = 0) -> None:
        """Ends a text with its record, before a stop token, or before a stop string.

        A stop string counts if it is complete after `min_tokens` tokens.

        Args:
            decoder: of the stream, after the tokens before the next one.
            stops: what ends the text.
            min_tokens: tokens of the text after which a stop string can end it.
            sent: tokens of the text that were sent before, if it is one that goes on.
        """
        self.stops = stops
        self.min_tokens = min_tokens
        self._decoder = decoder
        self._held: SampledTokens | None = None
        self._texts: list[str] = []
        """The text that each held token completes."""
        self._sent = sent

    def put(self, sampled: SampledTokens, *, final: bool) -> Released:
        """Takes new tokens and gives those that may be sent; `final` says that none will follow.

        A character that is unfinished at the end has no text: it belongs to whoever goes on from there.
        """
        place = self.stops.find_token(sampled.tokens)
        last = None if place is None else sampled[place : place + 1]
        end = last if last is not None and last.tokens[0] == self.stops.end else None
        stopped = last is not None and end is None
        sampled = sampled[:place]
        texts = self._decoder.put(sampled.tokens)
        if not self.stops.strings:
            return Released(sampled, texts, stopped, end)
        self._held = sampled if self._held is None else concatenate([self._held, sampled])
        self._texts += texts
        text = "".join(self._texts)
        # A stop string is complete at an earlier token than the last one, whose text is not here.
        guarded = sum(map(len, self._texts[: max(0, self.min_tokens - self._sent)]))
        stop = self.stops.find_string(text, guarded)
        if stop is not None:
            return self._cut(stop)
        if last is not None or final:
            return self._release(len(self._texts), stopped=stopped, end=end)
        return self._release(self._certain(len(text) - self.stops.begun(text)))

    def _certain(self, length: int) -> int:
        """How many held tokens lie within so many characters, those of an unfinished one at the end apart."""
        count = bisect_right(self._ends(), length)
        while count and not self._texts[count - 1]:
            count -= 1
        return count

    def _cut(self, length: int) -> Released:
        """Ends the text after so many characters, with the token that has the last of them."""
        ends = self._ends()
        count = bisect_left(ends, length) + 1 if length else 0
        if count:
            excess = ends[count - 1] - length
            self._texts[count - 1] = self._texts[count - 1][: len(self._texts[count - 1]) - excess]
        return self._release(count, stopped=True)

    def _ends(self) -> list[int]:
        """Where in the held text each token's part of it ends."""
        return list(accumulate(map(len, self._texts)))

    def _release(self, count: int, *, stopped: bool = False, end: SampledTokens | None = None) -> Released:
        assert self._held is not None, "there are tokens to release"
        released = Released(self._held[:count], self._texts[:count], stopped, end)
        self._held, self._texts = self._held[count:], self._texts[count:]
        self._sent += count
        return released
