"""Requests and streams: what is asked for, and how far it has come. Data only."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

from charloom.options import Sampling
from charloom.vocabulary import Tokens
from serving.engine.outbox import Outbox
from serving.errors import ServingError


@dataclass(frozen=True)
class Request:
    """One text to generate. The text depends on these fields and the bundle, and on nothing else."""

    prompt: Tokens
    """Token ids [T] that are read first; may be empty."""
    max_tokens: int
    seed: int
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()


class Finish(Enum):
    """How a text ended."""

    LENGTH = "length"
    STOP = "stop"


@dataclass(eq=False)
class Stream:
    """One request on its way through the engine.

    The engine's thread alone changes it, but for two fields: whoever reads the text counts
    `consumed` up, and may set `cancelled`.
    """

    request: Request
    last: int
    """The token it feeds next; the start token at first."""
    deadline: float | None = None
    """On the clock of `time.monotonic`, seconds."""
    position: int = 0
    """Tokens chosen so far, those of the prompt included."""
    slot: int | None = None
    """Its place in the state pool while it runs."""
    outbox: Outbox = field(init=False)
    released: int = 0
    """Generated tokens handed out."""
    consumed: int = 0
    """Generated tokens that the reader has taken."""
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.request.stop)

    @property
    def prompt_left(self) -> int:
        """Tokens of the prompt that are still to be read."""
        return max(0, len(self.request.prompt) - self.position)

    @property
    def steps_left(self) -> int:
        """Steps until the text has its full length."""
        return len(self.request.prompt) + self.request.max_tokens - self.position


@dataclass(frozen=True, eq=False)
class Update:
    """What one burst, or an error, brought for one stream."""

    stream: Stream
    text: str = ""
    tokens: Tokens = field(default_factory=lambda: np.empty(0, np.int64))
    logprobs: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    position: int = 0
    """Tokens of the prompt read and of text handed out so far."""
    finish: Finish | None = None
    error: ServingError | None = None

    @property
    def final(self) -> bool:
        """Whether the stream ends with it."""
        return self.finish is not None or self.error is not None
