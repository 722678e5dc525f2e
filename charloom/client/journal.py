"""A journal: what a client has of the texts it asked for, and how to go on with them elsewhere.

It knows requests and responses, and neither connections nor when to try again.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import charloom.v1.charloom_pb2 as pb
from charloom.options import seed_of

KEPT = {"model", "token_ids", "return_state", "state_interval", "bundle_digest", "require_exact"}
"""What of a request stands beside a state as well: the rest of it is in the state."""

Means = Literal["state", "replay"]
"""By which a text goes on: a state of it, or all of its tokens."""


@dataclass
class Page:
    """One text, as far as it came."""

    tokens: "array[int]" = field(default_factory=lambda: array("I"))
    """All of them."""
    state: bytes = b""
    """The newest state ..."""
    known: int = 0
    """... and how many tokens were there when it was taken."""
    done: bool = False

    @property
    def begun(self) -> bool:
        """Whether anything came of it."""
        return bool(self.tokens or self.state or self.done)

    @property
    def means(self) -> Means | None:
        """By which the rest is asked for; None if it begins anew."""
        if self.state:
            return "state"
        return "replay" if self.tokens else None

    def take(self, response: pb.GenerateResponse) -> None:
        """Notes what a response adds."""
        self.tokens.extend(response.token_ids)
        self.done = self.done or response.HasField("finish")
        if response.HasField("state"):
            self.state = response.state.token
            self.known = len(self.tokens) - (response.position - response.state.position)

    def forget_state(self) -> bool:
        """Leaves only the tokens to go on from; False if there was no state to forget."""
        had = bool(self.state)
        self.state, self.known = b"", 0
        return had


class Journal:
    """The texts of one request, by index."""

    def __init__(self, asked: pb.GenerateRequest) -> None:
        """Takes the request as it was sent; it must ask for token ids."""
        assert asked.token_ids, "tokens are replayed by id"
        self.asked = asked
        self.pages = [Page() for _ in range(asked.n if asked.HasField("n") else 1)]
        self.start: pb.Start | None = None
        """What the first response said."""

    def take(self, index: int, response: pb.GenerateResponse) -> None:
        """Notes a response for the text at `index`."""
        if response.HasField("start") and self.start is None:
            self.start = response.start
        self.pages[index].take(response)

    def remaining(self) -> Iterator[tuple[int | None, pb.GenerateRequest]]:
        """What is still to be asked for: requests, each with the index of its text; None for all texts."""
        if not any(page.begun for page in self.pages):
            yield None, self._again()
            return
        for index, page in enumerate(self.pages):
            if not page.done:
                yield index, self._rest(index, page)

    def forget_states(self) -> bool:
        """Leaves only tokens to go on from; False if there was no state to forget."""
        had = [page.forget_state() for page in self.pages]
        return any(had)

    def _again(self) -> pb.GenerateRequest:
        """The request, for the bundle and seed that it was begun with."""
        asked = pb.GenerateRequest()
        asked.CopyFrom(self.asked)
        if self.start is not None:
            asked.bundle_digest = self.start.bundle_digest
            if not asked.resume:
                asked.seed = self.start.seed
        return asked

    def _rest(self, index: int, page: Page) -> pb.GenerateRequest:
        """The rest of one text."""
        asked = self._again()
        if page.state:
            kept = {name: getattr(asked, name) for name in KEPT}
            asked = pb.GenerateRequest(state=page.state, resume=True, **kept)
        else:
            asked.ClearField("n")
            if not asked.resume:
                asked.seed = seed_of(asked.seed, index)
        replay = page.tokens[page.known :]
        asked.replay.extend(replay)
        if replay and self.start is not None:
            asked.execution_class = self.start.execution_class
        return asked
