"""The scorer of a text: makes its score of updates, with the characters that the model could not read."""

from charloom.score import Score
from serving.engine.text_requests import TextToScore
from serving.engine.update import Update


class TextScorer:
    """Turns the updates of one text's stream into the parts of its score."""

    def __init__(self, text: TextToScore, vocabulary_size: int, unknown_logprob: float) -> None:
        """Prepares to score a text.

        Args:
            text: the text.
            vocabulary_size: V; what is no token has this id, and the rank after all tokens.
            unknown_logprob: log-probability of what the vocabulary lacks, in nats.
        """
        self._text = text
        self._size = vocabulary_size
        self._unknown_logprob = unknown_logprob
        self._left = list(reversed(text.unread))
        self._read = 0
        """Characters of the text whose tokens have come."""

    def part(self, update: Update) -> Score:
        """Returns the score of what an update brings."""
        sampled = update.sampled
        ids, logprobs, ranks = sampled.tokens.tolist(), sampled.logprobs.tolist(), sampled.ranks.tolist()
        part = Score(unknown=self._text.unknown if update.finish is not None else 0)
        if not self._left:
            part.add(ids, logprobs, update.texts, ranks)
            return part
        for place, text in enumerate(update.texts):
            self._add_unread(part)
            part.add([ids[place]], [logprobs[place]], [text], ranks[place : place + 1])
            self._read += len(text)
        if update.finish is not None:
            self._add_unread(part)
        return part

    def _add_unread(self, part: Score) -> None:
        """Adds the characters that come after those whose tokens have come."""
        while self._left and self._left[-1][0] <= self._read:
            _, piece = self._left.pop()
            rank = [self._size + 1] if self._text.request.ranks else []
            part.add([self._size], [self._unknown_logprob], [piece], rank)
