"""The attempts that run side by side: one row of arrays for each."""

import numpy as np

from charloom.options import SEEDS
from charloom.vocabulary import Tokens
from serving.engine.request import Request


class RunningAttempts:
    """B rows, each free or with an attempt; row b has slot b of the runner."""

    def __init__(self, rows: int, request: Request, start_token: int, window: int) -> None:
        prompt = request.prompt
        self.begin_last = int(prompt[-1]) if len(prompt) else start_token
        self.begin_recent = np.full(window, -1, np.int64)  # [W]
        kept = min(window, len(prompt))
        if kept:
            self.begin_recent[-kept:] = prompt[-kept:]
        self.seed = request.seed
        self.max_tokens = request.max_tokens
        self.free = list(range(rows))[::-1]
        self.active = np.zeros(rows, np.bool_)
        self.place = np.zeros(rows, np.int64)
        """Which of the attempts, counted from the first of this source: [B]."""
        self.seeds = np.zeros(rows, np.uint64)
        self.last = np.zeros(rows, np.int64)
        self.generated = np.zeros(rows, np.int64)
        self.recent = np.full((rows, window), -1, np.int64)  # [B, W]
        self.tokens = np.zeros((rows, 64), np.int64)
        """The tokens that each has generated: [B, T], T grows."""

    def start(self, place: int, number: int) -> int:
        """Gives an attempt a free row, and returns the row."""
        row = self.free.pop()
        self.active[row] = True
        self.place[row] = place
        self.seeds[row] = (self.seed + number) % SEEDS
        self.last[row] = self.begin_last
        self.generated[row] = 0
        self.recent[row] = self.begin_recent
        return row

    def advance(self, rows: Tokens, chosen: Tokens) -> None:
        """Appends the tokens [rows, K] that a burst chose; who finds an end drops those beyond it."""
        steps = chosen.shape[1]
        self._grow(int(self.generated[rows].max()) + steps)
        columns = self.generated[rows][:, None] + np.arange(steps)
        self.tokens[rows[:, None], columns] = chosen
        self.generated[rows] += steps
        self.last[rows] = chosen[:, -1]
        if self.recent.shape[1]:
            self.recent[rows] = np.concatenate([self.recent[rows], chosen], 1)[:, steps:]

    def release(self, row: int) -> None:
        """Frees the row of an attempt that has ended."""
        self.active[row] = False
        self.free.append(row)

    def _grow(self, length: int) -> None:
        """Makes room for so many tokens of each row."""
        rows, room = self.tokens.shape
        if length > room:
            more = np.zeros((rows, max(length, 2 * room) - room), np.int64)
            self.tokens = np.concatenate([self.tokens, more], 1)
