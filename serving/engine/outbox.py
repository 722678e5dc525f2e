"""The outbox of a stream: generated tokens on their way out, ended where a stop is due.

It holds back what may turn out to be the beginning of a stop string. What comes out in the end
does not depend on how bursts happened to cut the text. It knows nothing of bursts or engines.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from charloom.vocabulary import CharacterVocabulary, Tokens
from serving.engine.sampled_tokens import SampledTokens, concatenate, no_sampled_tokens


@dataclass(frozen=True)
class Parcel:
    """What may go out: tokens and their text."""

    choices: SampledTokens
    text: str
    stopped: bool = False


class Outbox:
    """Holds the tokens of one stream until it is certain that no stop string begins in them."""

    def __init__(
        self,
        stops: tuple[str, ...] = (),
        stop_tokens: tuple[int, ...] = (),
        min_tokens: int = 0,
        sent: int = 0,
    ) -> None:
        """Ends a text before a stop token, or a stop string complete after `min_tokens` tokens.

        Of a text that goes on, `sent` tokens went out before.
        """
        self.stops = stops
        self.stop_tokens = frozenset(stop_tokens)
        self.min_tokens = min_tokens
        self._held = no_sampled_tokens()
        self._sent = sent

    def put(self, vocabulary: CharacterVocabulary, choices: SampledTokens, *, final: bool) -> Parcel:
        """Takes new tokens and gives what may go out; `final` says that none will follow."""
        end = self._stop_token(choices.tokens)
        stopped = end is not None
        if stopped:
            choices = choices[:end]
        if not self.stops:
            return Parcel(choices, vocabulary.decode(choices.tokens), stopped)
        self._held = concatenate([self._held, choices])
        pieces = vocabulary.pieces(self._held.tokens)
        text = "".join(pieces)
        # A stop string is complete at an earlier token than the stop token, whose text is not here.
        stop = self._stop(text, guarded=len("".join(pieces[: max(0, self.min_tokens - self._sent)])))
        if stop is not None:
            return self._send(pieces, text[:stop], stopped=True)
        if stopped or final:
            return self._send(pieces, text, stopped=stopped)
        return self._send(pieces, text[: len(text) - self._suspicious(text)])

    def _stop_token(self, tokens: Tokens) -> int | None:
        """Where the first stop token is."""
        if not self.stop_tokens or self.stop_tokens.isdisjoint(ids := tokens.tolist()):
            return None
        return next(place for place, token in enumerate(ids) if token in self.stop_tokens)

    def _stop(self, text: str, guarded: int) -> int | None:
        """Where the stop string begins that is the first to be complete after `guarded` characters.

        Not the first to begin: a reader of single tokens would stop at the first complete one,
        and the outcome must not depend on how many tokens arrive at a time.
        """
        begins = [(text.find(stop, max(0, guarded + 1 - len(stop))), len(stop)) for stop in self.stops]
        ends = [(begin + length, begin) for begin, length in begins if begin >= 0]
        return min(ends)[1] if ends else None

    def _suspicious(self, text: str) -> int:
        """Length of the longest end of the text that is the beginning of a stop string."""
        longest = min(max(map(len, self.stops)) - 1, len(text))
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.stops):
                return length
        return 0

    def _send(self, pieces: list[str], text: str, *, stopped: bool = False) -> Parcel:
        """Lets go of the tokens whose text lies within `text`; at a stop the last may be cut."""
        ends = list(accumulate(map(len, pieces)))
        count = bisect_right(ends, len(text))
        sent = "".join(pieces[:count])
        if stopped and len(sent) < len(text):
            count, sent = count + 1, text
        parcel = Parcel(self._held[:count], sent, stopped)
        self._held = self._held[count:]
        self._sent += count
        return parcel
