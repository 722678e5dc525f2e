"""The attempts that run side by side: one row of arrays for each."""

import numpy as np
import numpy.typing as npt

from charloom.vocabulary import Tokens
from serving.engine.request import Request

Counts = npt.NDArray[np.int64]


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
        self.free = np.arange(rows)
        """Rows without an attempt."""
        self.active = np.zeros(rows, np.bool_)
        self.place = np.zeros(rows, np.int64)
        """Which of the attempts, counted from the first of this source: [B]."""
        self.seeds = np.zeros(rows, np.uint64)
        self.last = np.zeros(rows, np.int64)
        self.generated = np.zeros(rows, np.int64)
        self.recent = np.full((rows, window), -1, np.int64)  # [B, W]
        self.tokens = np.zeros((rows, 64), np.int64)
        """The tokens that each has generated: [B, T], T grows."""

    def start(self, places: Counts, numbers: Counts) -> Counts:
        """Gives attempts [N] free rows, and returns the rows [N]."""
        rows, self.free = self.free[: len(places)], self.free[len(places) :]
        self.active[rows] = True
        self.place[rows] = places
        self.seeds[rows] = np.uint64(self.seed) + numbers.astype(np.uint64)  # modulo 2**64, as `seed_of`
        self.last[rows] = self.begin_last
        self.generated[rows] = 0
        self.recent[rows] = self.begin_recent
        return rows

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

    def release(self, rows: Counts) -> None:
        """Frees the rows of attempts that have ended."""
        self.active[rows] = False
        self.free = np.concatenate([self.free, rows])

    def _grow(self, length: int) -> None:
        """Makes room for so many tokens of each row."""
        rows, room = self.tokens.shape
        if length > room:
            more = np.zeros((rows, max(length, 2 * room) - room), np.int64)
            self.tokens = np.concatenate([self.tokens, more], 1)
