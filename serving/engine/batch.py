"""Batches: the feeds of one burst, made from the streams in it, and their shares of its outputs.

It knows streams and the burst contract, and nothing of who runs it.
"""

from collections.abc import Sequence

import numpy as np

from charloom.burst import FULL_INPUTS, PLAIN_INPUTS, Feeds, GraphKind, neutral
from charloom.philox import uniforms
from serving.engine.request import Stream


class Batch:
    """B streams that run up to K steps together."""

    def __init__(self, streams: Sequence[Stream], steps: int, vocabulary_size: int) -> None:
        self.streams = streams
        self.length = steps  # K
        self.vocabulary_size = vocabulary_size
        self.steps = np.array([min(steps, stream.steps_left) for stream in streams])  # [B]
        self.forced = np.array([min(steps, stream.prompt_left) for stream in streams])  # [B]

    @property
    def kind(self) -> GraphKind:
        """The graph it needs: the plain one unless a row filters."""
        return "plain" if all(stream.request.sampling.plain for stream in self.streams) else "full"

    def feeds(self) -> Feeds:
        """Everything the graph takes but the state."""
        plain = self.kind == "plain"
        specs = PLAIN_INPUTS if plain else FULL_INPUTS
        feeds = neutral(specs, B=len(self.streams), K=self.length, V=self.vocabulary_size, W=1, N=1)
        self._fill_plain(feeds)
        if not plain:
            self._fill_filters(feeds)
        return feeds

    def _fill_plain(self, feeds: Feeds) -> None:
        requests = [stream.request for stream in self.streams]
        positions = [stream.position for stream in self.streams]
        feeds["last"][:] = [stream.last for stream in self.streams]
        feeds["forced_len"][:] = self.forced
        feeds["steps"][:] = self.steps
        for row in np.flatnonzero(self.forced):
            count, place = self.forced[row], positions[row]
            feeds["forced"][:count, row] = requests[row].prompt[place : place + count]
        feeds["uniform"] = uniforms([request.seed for request in requests], positions, self.length)
        feeds["temperature"][:] = [request.sampling.temperature for request in requests]

    def _fill_filters(self, feeds: Feeds) -> None:
        sampling = [stream.request.sampling for stream in self.streams]
        feeds["position"][:] = [stream.position for stream in self.streams]
        feeds["generation_start"][:] = [len(stream.request.prompt) for stream in self.streams]
        feeds["top_k"][:] = [s.top_k for s in sampling]
        feeds["top_p"][:] = [s.top_p for s in sampling]
        feeds["min_p"][:] = [s.min_p for s in sampling]
