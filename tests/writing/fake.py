"""A conversation without a server or a model: branches are the texts that they have read."""

import random

from writing.writer import GoneError, RefusedError

ALPHABET = "ab c.\n"


class FakeTalk:
    """Knows a few characters, remembers a few of them, and can be gone."""

    model = "fake"

    def __init__(self, history: int = 12, branches: int = 4) -> None:
        self.branches = {"": ""}
        self.history, self.most = history, branches
        self.gone = False
        self.asked = 0

    def _there(self) -> None:
        self.asked += 1
        if self.gone:
            raise GoneError("nobody is there")

    def feed(self, text: str, branch: str) -> None:
        self._there()
        if set(text) - set(ALPHABET):
            raise RefusedError("unknown characters")
        self.branches[branch] += text

    def generate(self, seed: int, branch: str) -> str:
        self._there()
        text = "".join(random.Random(f"{seed} {self.branches[branch]}").choices(ALPHABET, k=4))
        self.branches[branch] += text
        return text

    def rewind(self, count: int, branch: str) -> None:
        self._there()
        if count > self.history:
            raise RefusedError("too long ago")
        text = self.branches[branch]
        self.branches[branch] = text[: len(text) - count]

    def suggest(self, count: int, branch: str) -> list[tuple[str, float]]:
        self._there()
        assert branch in self.branches
        return [(character, -1.0 - place) for place, character in enumerate(ALPHABET[:count])]

    def fork(self, name: str, branch: str) -> None:
        self._there()
        if len(self.branches) == self.most:
            raise RefusedError("no more branches")
        assert name not in self.branches
        self.branches[name] = self.branches[branch]

    def drop(self, branch: str) -> None:
        self._there()
        del self.branches[branch]

    def save(self, branch: str) -> bytes:
        self._there()
        return self.branches[branch].encode()

    def close(self) -> None:
        self.gone = True
