"""The calls of one generation: the first one, and another one on the next server whenever one breaks off."""

from dataclasses import dataclass, field

import grpc

import charloom.v1.charloom_pb2 as pb
from charloom.client.journal import Journal, ResumedBy
from charloom.client.piece import Ending, Piece, to_ending, to_piece
from charloom.client.request_error import RequestError
from charloom.client.retried_call import RetriedCall
from charloom.client.retries import RetryConfig
from charloom.client.servers import Start


@dataclass
class GenerationStatus:
    """What is known of a generation so far."""

    model: str = ""
    bundle_digest: str = ""
    execution_class: str = ""
    seed: int | None = None
    """The seed in use, known from the first response on; of the first text, if there are several."""
    exact: bool = True
    """False once a text went on where it may differ from that of an undisturbed stream."""
    notes: list[str] = field(default_factory=list)
    """What the server says about the request, though nothing is wrong with it."""
    endings: dict[int, Ending] = field(default_factory=dict)
    """The endings of complete texts, by index."""
    states: dict[int, bytes] = field(default_factory=dict)
    """The newest state token of each text, by index, if they were requested."""

    @property
    def finish(self) -> str | None:
        """How the first text ended, length, stop or end; None before it is complete."""
        return self.endings[0].reason if 0 in self.endings else None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, once the first text is complete."""
        return self.endings[0].prompt_tokens if 0 in self.endings else 0

    @property
    def generated_tokens(self) -> int:
        """Tokens of all complete texts."""
        return sum(ending.generated_tokens for ending in self.endings.values())

    def take(self, response: pb.GenerateResponse, index: int, *, token_ids: bool = True) -> Piece:
        """Updates the status by a response for the text at `index`, and gives the piece in it."""
        if response.HasField("start"):
            start = response.start
            self.exact = self.exact and start.exact
            if self.seed is None:
                self.model, self.seed = start.model, start.seed
                self.bundle_digest, self.execution_class = start.bundle_digest, start.execution_class
                self.notes = list(start.notes)
        if response.HasField("finish"):
            self.endings[index] = to_ending(response.finish)
        if response.HasField("state"):
            self.states[index] = response.state.token
        return to_piece(response, index, token_ids=token_ids)


class Attempts(RetriedCall, GenerationStatus):
    """What both kinds of generation have in common: the current call, and the journal.

    Args:
        start: begins a call on the next server.
        message: the request.
        timeout: see RetriedCall, as for the others.
        config: how retries are made.
        addresses: number of servers.
    """

    def __init__(
        self,
        start: Start,
        message: pb.GenerateRequest,
        timeout: float | None,
        config: RetryConfig,
        addresses: int,
    ) -> None:
        super().__init__(timeout, config, addresses)
        self.n = message.n if message.HasField("n") else 1
        self.resumed_by_state = 0
        """How often a text went on from a state of its own; the tokens after the state were replayed."""
        self.resumed_by_replay = 0
        """How often a text went on after all of its tokens were replayed."""
        self._wants_ids = message.token_ids
        message.token_ids = True
        self._start = start
        self._journal = Journal(message)
        self._resumed_by: ResumedBy | None = None
        self._call = start(message, timeout)

    def _begin(self, index: int | None, message: pb.GenerateRequest) -> None:
        """Begins another call, unless it is the first, which was begun at once."""
        self._resumed_by = None if index is None else self._journal.entries[index].resumed_by
        if self.resumed or self._journal.start is not None or self._retries.failures:
            left = self._left()
            self._call = self._start(message, left)

    def _receive(self, index: int | None, response: pb.GenerateResponse) -> Piece | None:
        """The piece in a response of a call for the text at `index`; None for a heartbeat."""
        if not response.ByteSize():
            return None
        if response.HasField("start"):
            self.resumed_by_state += self._resumed_by == "state"
            self.resumed_by_replay += self._resumed_by == "replay"
        index = response.index if index is None else index
        self._journal.take(index, response)
        self._retries.reset()
        return self.take(response, index, token_ids=self._wants_ids)

    def _delay(self, error: RequestError) -> float:
        """Seconds until the next attempt; raises the error where there is to be none."""
        begun = self._journal.start is not None
        if begun and error.code == grpc.StatusCode.FAILED_PRECONDITION and self._journal.drop_states():
            return 0.0  # the state has expired, or that server does not have its key; the tokens are replayed
        return self._delay_after(error, begun=begun)
