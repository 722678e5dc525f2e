"""Series of texts as messages: what a call asks for, and what a burst brings for all of its texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.options import SEEDS, InvalidRequestError, Violation, unless_between
from serving.engine.async_engine import merge
from serving.engine.stream import Stream
from serving.engine.text_series import MAX_HELD
from serving.engine.update import Finish, Update
from serving.rpc.convert import FINISH
from serving.rpc.limits import MAX_BYTES, RequestLimits

MAX_INDEXES = 2**14
"""Most texts that are named one by one."""
DEFAULT_PARALLEL = 64
"""Texts that run at the same time where a request does not say how many."""
IMPLIED_FIELDS = ("n", "resume", "replay", "return_state", "state_interval")
"""Fields of a GenerateRequest that must be absent in one for a series."""


@dataclass(frozen=True)
class Selection:
    """Which texts a call asks for, and how many of them may run at the same time."""

    first: Sequence[int]
    """The indexes of the first ones ..."""
    others: range
    """... and of all others."""
    parallel: int

    @property
    def indexes(self) -> Iterator[int]:
        """The indexes of all texts."""
        return chain(self.first, self.others)

    @property
    def count(self) -> int:
        """How many texts there are."""
        return len(self.first) + len(self.others)


def parallel_texts(message: pb.GenerateSeriesRequest) -> int:
    """Returns how many texts of a series run at the same time, at the most."""
    asked = message.parallel if message.HasField("parallel") else DEFAULT_PARALLEL
    return min(asked, len(message.indexes) + message.count)


def to_selection(message: pb.GenerateSeriesRequest, limits: RequestLimits) -> Selection:
    """Returns which texts a message asks for.

    Raises:
        InvalidRequestError: there are none, or too many at the same time, or fields do not fit a series.
    """
    if violations := list(unfit(message, limits)):
        raise InvalidRequestError(violations)
    parallel = min(parallel_texts(message), limits.max_parallel)
    return Selection(list(message.indexes), others(message), parallel)


def others(message: pb.GenerateSeriesRequest) -> range:
    """Returns the indexes that are not named one by one."""
    stride = message.stride if message.HasField("stride") else 1
    return range(message.first, message.first + stride * message.count, stride)


def unfit(message: pb.GenerateSeriesRequest, limits: RequestLimits) -> Iterator[Violation]:
    """Yields what of a message for a series cannot be used, apart from the options of its texts."""
    present = {field.name for field, _ in message.generate.ListFields()}
    for name in IMPLIED_FIELDS:
        if name in present:
            yield Violation(name, "must be absent: a series has none")
    if message.generate.logprobs:
        yield Violation("logprobs", "must be 0 or absent: a series has no alternatives")
    if len(message.indexes) > MAX_INDEXES:
        yield Violation("indexes", f"must be at most {MAX_INDEXES}, not {len(message.indexes)}")
    if not message.indexes and not message.count:
        yield Violation("count", "must be at least 1 where no indexes are named")
    if message.HasField("stride") and not message.stride:
        yield Violation("stride", "must be at least 1, not 0")
    elif message.count and others(message)[-1] >= SEEDS:
        yield Violation("first", "and the indexes after it must be below 2**64")
    if message.HasField("parallel"):
        yield from unless_between("parallel", [message.parallel], 1, limits.max_parallel)


@dataclass
class SeriesParts:
    """Makes the responses of one call, and holds texts back that are to come whole."""

    message: pb.GenerateSeriesRequest
    _held: dict[Stream, list[Update]] = field(default_factory=dict)

    def responses(self, updates: Sequence[Update]) -> Iterator[pb.GenerateSeriesResponse]:
        """Yields the responses of one burst or more: one, or several if there is too much for one message.

        Args:
            updates: of the streams that got any, one each.
        """
        part: list[Update] = []
        size = 0
        for update in self._ready(updates) if self.message.whole else updates:
            cost = 4 * len(update.text) + 8 * len(update.sampled)
            if part and size + cost > MAX_BYTES:
                yield self._response(part)
                part, size = [], 0
            part.append(update)
            size += cost
        if part:
            yield self._response(part)

    def _ready(self, updates: Sequence[Update]) -> Iterator[Update]:
        """Yields what is not held back: all updates of a text in one, once it ends or is long."""
        for update in updates:
            held = self._held.setdefault(update.stream, [])
            held.append(update)
            if update.final or sum(len(each.sampled) for each in held) > MAX_HELD:
                yield merge(self._held.pop(update.stream))

    def _response(self, updates: Sequence[Update]) -> pb.GenerateSeriesResponse:
        generate = self.message.generate
        response = pb.GenerateSeriesResponse(
            indexes=[update.stream.index for update in updates],
            texts=[update.text for update in updates],
            token_counts=[len(update.sampled) for update in updates],
            finish_reasons=[
                pb.FINISH_REASON_UNSPECIFIED if update.finish is None else FINISH[update.finish]
                for update in updates
            ],
        )
        if generate.token_ids:
            response.token_ids.extend(np.concatenate([update.sampled.tokens for update in updates]).tolist())
        if generate.HasField("logprobs"):
            logprobs = [update.sampled.logprobs for update in updates]
            response.logprobs.extend(np.concatenate(logprobs).tolist())
            ended = [update for update in updates if update.finish is Finish.END]
            response.end_logprobs.extend(update.end_logprob or 0.0 for update in ended)
        return response
