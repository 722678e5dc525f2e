"""Finds where a text ends: at the end of a record, at a stop token, or before a stop string."""

from charloom.vocabulary import Tokens


class StopChecker:
    """The stop strings and stop tokens of one request, and the token that ends a record."""

    def __init__(
        self, strings: tuple[str, ...] = (), tokens: tuple[int, ...] = (), end: int | None = None
    ) -> None:
        self.strings = strings
        self.end = end
        self.tokens = frozenset(tokens if end is None else (*tokens, end))

    def find_token(self, tokens: Tokens) -> int | None:
        """The place of the first token in tokens [T] that ends the text."""
        if not self.tokens or self.tokens.isdisjoint(ids := tokens.tolist()):
            return None
        return next(place for place, token in enumerate(ids) if token in self.tokens)

    def find_string(self, text: str, guarded: int) -> int | None:
        """Where in a text the stop string begins that is the first to be complete after `guarded` characters.

        Not the first to begin: a reader of single tokens would stop at the first complete one,
        and the outcome must not depend on how many tokens arrive at a time.
        """
        begins = [(text.find(stop, max(0, guarded + 1 - len(stop))), len(stop)) for stop in self.strings]
        ends = [(begin + length, begin) for begin, length in begins if begin >= 0]
        return min(ends)[1] if ends else None

    def begun(self, text: str) -> int:
        """Length of the longest end of a text that is the beginning of a stop string."""
        longest = min(max(map(len, self.strings), default=1) - 1, len(text))
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.strings):
                return length
        return 0
