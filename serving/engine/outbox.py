"""The outbox of a stream: generated tokens on their way out, stopped before a stop string.

It holds back what may turn out to be the beginning of a stop string. What comes out in the end
does not depend on how bursts happened to cut the text. It knows nothing of bursts or engines.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charloom.vocabulary import CharacterVocabulary, Tokens

Logprobs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parcel:
    """What may go out: T tokens, their log-probabilities in nats, and their text."""

    tokens: Tokens
    logprobs: Logprobs
    text: str
    stopped: bool = False


class Outbox:
    """Holds the tokens of one stream until it is certain that no stop string begins in them."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.stops = stops
        self._tokens: Tokens = np.empty(0, np.int64)
        self._logprobs: Logprobs = np.empty(0, np.float32)

    def put(
        self, vocabulary: CharacterVocabulary, tokens: Tokens, logprobs: Logprobs, *, final: bool
    ) -> Parcel:
        """Takes new tokens [T] and gives what may go out; `final` says that none will follow."""
        if not self.stops:
            return Parcel(tokens, logprobs, vocabulary.decode(tokens))
        self._tokens = np.append(self._tokens, tokens)
        self._logprobs = np.append(self._logprobs, logprobs)
        pieces = vocabulary.pieces(self._tokens)
        text = "".join(pieces)
        stop = self._stop(text)
        if stop is not None:
            return self._send(pieces, text[:stop], stopped=True)
        return self._send(pieces, text if final else text[: len(text) - self._suspicious(text)])

    def _stop(self, text: str) -> int | None:
        """Where the stop string begins that is the first to be complete.

        Not the first to begin: a reader of single tokens would stop at the first complete one,
        and the outcome must not depend on how many tokens arrive at a time.
        """
        begins = [(text.find(stop), len(stop)) for stop in self.stops]
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
        ends = np.cumsum([len(piece) for piece in pieces])
        count = int(np.searchsorted(ends, len(text), side="right"))
        sent = "".join(pieces[:count])
        if stopped and len(sent) < len(text):
            count, sent = count + 1, text
        parcel = Parcel(self._tokens[:count], self._logprobs[:count], sent, stopped)
        self._tokens, self._logprobs = self._tokens[count:], self._logprobs[count:]
        return parcel
