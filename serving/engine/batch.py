"""Batches: turns the streams of one burst into the inputs of its graph."""

from collections.abc import Sequence

import numpy as np

from charloom.burst import INPUTS, Feeds, GraphKind, neutral
from charloom.philox import uniforms
from charloom.vocabulary import Tokens, Vocabulary
from serving.engine.request import Request
from serving.engine.stream import Stream, newest

NUMBERS = (
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)
"""Inputs of the full graph that are fields of `Sampling` as they stand."""


class Batch:
    """B streams that run up to K steps together."""

    def __init__(self, streams: Sequence[Stream], steps: int, vocabulary: Vocabulary) -> None:
        self.streams = streams
        self.requests = [stream.request for stream in streams]
        self.length = steps  # K
        self.vocabulary = vocabulary
        self.position = np.array([stream.position for stream in streams])  # [B]
        self.start = np.array([request.start for request in self.requests])  # [B]
        self.left = np.array([stream.steps_left for stream in streams])
        """Steps of each row until its text has its full length: [B]."""
        self.steps = self.left.clip(max=steps)  # [B]
        self.forced = np.array([stream.forced_left for stream in streams]).clip(max=steps)  # [B]
        self.cut = np.zeros(len(streams), np.bool_)
        """Rows whose burst ends with the end of a record that they read: [B]."""
        self.to_read = {row: self._to_read(row) for row in np.flatnonzero(self.forced).tolist()}
        """The tokens that each row with any reads: [T]."""
        self._cut_at_ends()
        scored = np.array([request.scored for request in self.requests])
        self.withheld = np.where(scored, (self.start - self.position).clip(0, self.steps), self.forced)
        """Steps of each row whose tokens are not handed out: [B]."""
        # A row that only reads needs no filter yet, and one whose rules have ended none any more.
        self.generated = self.position - self.start  # [B], below 0 by what is to be read
        until = np.array([request.filtered_until for request in self.requests])
        filters = (self.generated.clip(0) < until) & (self.forced < self.steps)
        self.filtered = np.flatnonzero(filters | (scored & (self.withheld < self.steps)))

    @property
    def kind(self) -> GraphKind:
        """The fastest graph that does all that the rows need.

        The full one if a row filters, or ends before the others while its state is still needed; the read
        graph if no row samples. After the end of a record no state is needed: the next one has a fresh one.
        """
        ends_early = np.flatnonzero((self.steps < self.length) & ~self.cut).tolist()
        if len(self.filtered) or any(self.streams[row].ends_exactly for row in ends_early):
            return "full"
        return "read" if (self.cut | (self.forced == self.length)).all() else "plain"

    def feeds(self) -> Feeds:
        """Returns all inputs of the graph but the state."""
        kind = self.kind
        requests = [self.requests[row] for row in self.filtered]
        feeds = neutral(
            INPUTS[kind],
            B=len(self.streams),
            K=self.length,
            V=self.vocabulary.size,
            W=max((r.sampling.penalty_window for r in requests if r.sampling.penalises), default=1),
            N=max((len(r.rules.biased) for r in requests if len(r.rules.biased)), default=1),
        )
        self._fill_tokens(feeds)
        if kind != "read":
            self._fill_sampling(feeds)
        if kind == "full":
            feeds["steps"][:] = self.steps
            self._fill_numbers(feeds, requests)
            for row, request in zip(self.filtered.tolist(), requests, strict=True):
                self._fill_row(feeds, row, request)
        return feeds

    def _fill_tokens(self, feeds: Feeds) -> None:
        feeds["last"][:] = [stream.last for stream in self.streams]
        for row, tokens in self.to_read.items():
            feeds["forced"][: len(tokens), row] = tokens

    def _to_read(self, row: int) -> Tokens:
        """Returns the tokens that a row reads."""
        offset = int(self.position[row]) - self.requests[row].begin
        return np.concatenate([*self.requests[row].read(offset, int(self.forced[row]))])

    def _cut_at_ends(self) -> None:
        """Ends the burst of each row with the first end of a record that it reads."""
        if self.vocabulary.end is None:
            return
        for row, tokens in self.to_read.items():
            ends = np.flatnonzero(tokens == self.vocabulary.end)
            if len(ends):
                self.steps[row] = self.forced[row] = ends[0] + 1
                self.to_read[row] = tokens[: ends[0] + 1]
                self.cut[row] = True

    def _fill_sampling(self, feeds: Feeds) -> None:
        feeds["forced_len"][:] = self.forced
        feeds["uniform"] = uniforms([stream.seed for stream in self.streams], self.position, self.length)
        feeds["temperature"][:] = [request.sampling.temperature[0] for request in self.requests]
        for schedule, rows in self._schedules().items():
            generated = self.generated[rows] + np.arange(self.length)[:, None]  # [K, rows]
            feeds["temperature"][:, rows] = np.take(schedule, generated % len(schedule))

    def _schedules(self) -> dict[tuple[float, ...], list[int]]:
        """Returns the temperature schedules, and the rows that follow each."""
        rows: dict[tuple[float, ...], list[int]] = {}
        for row, request in enumerate(self.requests):
            if len(request.sampling.temperature) > 1:
                rows.setdefault(request.sampling.temperature, []).append(row)
        return rows

    def _fill_numbers(self, feeds: Feeds, requests: Sequence[Request]) -> None:
        """Fills the inputs of which every filtered row has one number."""
        feeds["position"][:] = self.position
        feeds["generation_start"][:] = self.start
        feeds["alternatives"][self.filtered] = [
            bool(request.logprobs) or request.ranks for request in requests
        ]
        for name in NUMBERS:
            feeds[name][self.filtered] = [getattr(request.sampling, name) for request in requests]

    def _fill_row(self, feeds: Feeds, row: int, request: Request) -> None:
        """Fills the inputs that only some rows use, each at its own length: recent tokens and token rules."""
        sampling, rules = request.sampling, request.rules
        if sampling.penalises:
            recent = newest(sampling.penalty_window, self.streams[row].recent)
            feeds["window"][row] = sampling.penalty_window
            feeds["recent"][row, feeds["recent"].shape[1] - len(recent) :] = recent
        if len(rules.biased):
            biases = slice(len(rules.biased))
            feeds["bias_token"][row, biases] = rules.biased
            feeds["bias_value"][row, biases] = rules.bias
            feeds["bias_until"][row, biases] = rules.until
        if rules.allowed is not None:
            feeds["allowed"][row] = rules.allowed
