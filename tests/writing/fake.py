"""A session without a server or a model: branches are the tokens that they have read."""

import random

import numpy as np

from charloom.vocabulary import CharacterVocabulary, Tokens, UnknownCharacterError, Vocabulary, no_tokens
from serving.engine.history import Tail
from writing.writer import GoneError, RefusedError, Suggestion

ALPHABET = "ab c.\n"
LETTERS = CharacterVocabulary(ALPHABET)


class FakeSession:
    """Knows a few tokens, remembers a few of them, and can be gone."""

    model = "fake"

    def __init__(
        self,
        history: int = 12,
        branches: int = 4,
        vocabulary: Vocabulary = LETTERS,
        likely: tuple[int, ...] = tuple(range(LETTERS.size)),
    ) -> None:
        self.vocabulary, self.likely = vocabulary, likely
        self.tokens: dict[str, Tokens] = {"": no_tokens()}
        self.history, self.most = history, branches
        self.gone = False
        self.asked = 0

    @property
    def branches(self) -> dict[str, str]:
        """The text of each branch, without a character that is unfinished."""
        return {name: self.vocabulary.decode(tokens) for name, tokens in self.tokens.items()}

    def _there(self) -> None:
        self.asked += 1
        if self.gone:
            raise GoneError("nobody is there")

    def _encoded(self, text: str) -> Tokens:
        try:
            return self.vocabulary.encode(text)
        except UnknownCharacterError as error:
            raise RefusedError("unknown characters") from error

    def _read(self, tokens: Tokens, branch: str) -> str:
        before = self.tokens[branch]
        self.tokens[branch] = np.concatenate([before, tokens])
        return "".join(self.vocabulary.decoder(before).put(tokens))

    def feed(self, text: str, branch: str) -> str:
        self._there()
        return self._read(self._encoded(text), branch)

    def choose(self, token: int, branch: str) -> str:
        self._there()
        return self._read(np.array([token]), branch)

    def generate(self, seed: int, branch: str) -> str:
        self._there()
        tokens = random.Random(f"{seed} {self.branches[branch]}").choices(self.likely, k=4)
        return self._read(np.array(tokens), branch)

    def rewind(self, characters: int, branch: str) -> None:
        self._there()
        tokens = self.tokens[branch]
        first = max(0, len(tokens) - self.history)
        tail = Tail(self.vocabulary, tokens[:first], tokens[first:])
        if characters > tail.characters:
            raise RefusedError("too long ago")
        end = tail.last_characters(characters)
        again = self._encoded(end.stays)
        if "".join(tail.decoder(len(tail.tokens) - end.tokens).put(again)) != end.stays:
            raise RefusedError("no tokens make what would stay")
        self.tokens[branch] = np.concatenate([tokens[: len(tokens) - end.tokens], again])

    def suggest(self, count: int, branch: str) -> list[Suggestion]:
        self._there()
        assert branch in self.tokens
        return [
            Suggestion(token, self.vocabulary.token_text(token), -1.0 - place)
            for place, token in enumerate(self.likely[:count])
        ]

    def fork(self, name: str, branch: str) -> None:
        self._there()
        if len(self.tokens) == self.most:
            raise RefusedError("no more branches")
        assert name not in self.tokens
        self.tokens[name] = self.tokens[branch]

    def drop(self, branch: str) -> None:
        self._there()
        del self.tokens[branch]

    def save(self, branch: str) -> bytes:
        self._there()
        return self.branches[branch].encode()

    def close(self) -> None:
        self.gone = True
