"""The journal of a request: what was received of its texts, and the requests by which they are resumed."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import charloom.v1.charloom_pb2 as pb
from charloom.options import seed_of

WITH_STATE = {"model", "token_ids", "return_state", "state_interval", "bundle_digest", "require_exact"}
"""Fields of a request that are sent beside a state; the others are in the state."""

ResumedBy = Literal["state", "replay"]
"""A text is resumed by a state of its own, or by a replay of all its tokens."""


@dataclass
class JournalEntry:
    """What was received of one text."""

    tokens: "array[int]" = field(default_factory=lambda: array("I"))
    """All of its token ids."""
    state: bytes = b""
    """The newest state token ..."""
    state_tokens: int = 0
    """... and the number of tokens before it."""
    done: bool = False

    @property
    def begun(self) -> bool:
        """Whether anything was received."""
        return bool(self.tokens or self.state or self.done)

    @property
    def resumed_by(self) -> ResumedBy | None:
        """How the rest is requested; None if the text begins anew."""
        if self.state:
            return "state"
        return "replay" if self.tokens else None

    def take(self, response: pb.GenerateResponse) -> None:
        """Adds a response."""
        self.tokens.extend(response.token_ids)
        self.done = self.done or response.HasField("finish")
        if response.HasField("state"):
            self.state = response.state.token
            self.state_tokens = len(self.tokens) - (response.position - response.state.position)

    def drop_state(self) -> bool:
        """Drops the state, so that the text is resumed by replay; False if there was none."""
        had = bool(self.state)
        self.state, self.state_tokens = b"", 0
        return had


class Journal:
    """The texts of one request, by index."""

    def __init__(self, request: pb.GenerateRequest) -> None:
        """Takes the request as it was sent; it must ask for token ids."""
        assert request.token_ids, "tokens are replayed by id"
        self.request = request
        self.entries = [JournalEntry() for _ in range(request.n if request.HasField("n") else 1)]
        self.start: pb.Start | None = None
        """The start message of the first response."""

    def take(self, index: int, response: pb.GenerateResponse) -> None:
        """Adds a response for the text at `index`."""
        if response.HasField("start") and self.start is None:
            self.start = response.start
        self.entries[index].take(response)

    def remaining(self) -> Iterator[tuple[int | None, pb.GenerateRequest]]:
        """The requests for what is still missing, each with the index of its text; None for all texts."""
        if not any(entry.begun for entry in self.entries):
            yield None, self._again()
            return
        for index, entry in enumerate(self.entries):
            if not entry.done:
                yield index, self._rest(index, entry)

    def drop_states(self) -> bool:
        """Drops all states, so that texts are resumed by replay; False if there was none."""
        had = [entry.drop_state() for entry in self.entries]
        return any(had)

    def _again(self) -> pb.GenerateRequest:
        """The same request, for the bundle and seed with which it was begun."""
        request = pb.GenerateRequest()
        request.CopyFrom(self.request)
        if self.start is not None:
            request.bundle_digest = self.start.bundle_digest
            if not request.resume:
                request.seed = self.start.seed
        return request

    def _rest(self, index: int, entry: JournalEntry) -> pb.GenerateRequest:
        """The request for the rest of one text."""
        request = self._again()
        if entry.state:
            kept = {name: getattr(request, name) for name in WITH_STATE}
            request = pb.GenerateRequest(state=entry.state, resume=True, **kept)
        else:
            request.ClearField("n")
            if not request.resume:
                request.seed = seed_of(request.seed, index)
        replay = entry.tokens[entry.state_tokens :]
        request.replay.extend(replay)
        if replay and self.start is not None:
            request.execution_class = self.start.execution_class
        return request
