"""The parts of a generated text as they arrive: pieces, alternatives to their tokens, and the ending."""

from dataclasses import dataclass
from functools import cache

import charloom.v1.charloom_pb2 as pb


@dataclass(frozen=True)
class Alternative:
    """A token that could have been sampled, and its log-probability (nats)."""

    token_id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Ending:
    """The end of a text."""

    reason: str
    """length, stop or end."""
    prompt_tokens: int
    generated_tokens: int
    end_logprob: float | None = None
    """Nats, of the end of a record, if the text ended so and log-probabilities were requested."""


@dataclass(frozen=True)
class Piece:
    """One response: some text, and what was requested of its T tokens."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    """Nats, by the model itself: at temperature 1, before penalties, biases and filters."""
    alternatives: list[list[Alternative]]
    """[T, N]: the most likely tokens in the place of each."""
    position: int
    """Tokens of the prompt and of all text so far."""
    index: int = 0
    """Index of its text among those of the request."""
    state: bytes = b""
    """A state token, if the response brought one ..."""
    state_position: int = 0
    """... and the position at which it was taken: that of the piece, or one within it."""


def to_piece(response: pb.GenerateResponse, index: int, *, token_ids: bool) -> Piece:
    """The piece in a response for the text at `index`, with its token ids or without."""
    return Piece(
        text=response.text,
        token_ids=list(response.token_ids) if token_ids else [],
        logprobs=list(response.logprobs),
        alternatives=[
            [Alternative(a.token_id, a.text, a.logprob) for a in place.alternatives]
            for place in response.alternatives
        ],
        position=response.position,
        index=index,
        state=response.state.token,
        state_position=response.state.position,
    )


def to_ending(finish: pb.Finish) -> Ending:
    """The ending that a finish message describes."""
    end_logprob = finish.end_logprob if finish.HasField("end_logprob") else None
    return Ending(to_reason(finish.reason), finish.prompt_tokens, finish.generated_tokens, end_logprob)


@cache
def to_reason(reason: pb.FinishReason.ValueType) -> str:
    """The name of a finish reason: length, stop, end or cancelled."""
    return pb.FinishReason.Name(reason).removeprefix("FINISH_REASON_").lower()
