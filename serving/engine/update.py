"""Updates: what one burst, or an error, brought for one stream. Data only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from serving.engine.sampled_tokens import SampledTokens, no_sampled_tokens
from serving.engine.snapshot import Snapshot
from serving.engine.stream import Stream
from serving.errors import ServingError


class Finish(Enum):
    """How a text ended."""

    LENGTH = "length"
    STOP = "stop"
    END = "end"
    """By the end of the record, which the model sampled."""


@dataclass(frozen=True, eq=False)
class Update:
    """New text of a stream, its end, or a snapshot of it."""

    stream: Stream
    texts: Sequence[str] = ()
    """The text that each of the tokens completes [T]."""
    sampled: SampledTokens = field(default_factory=no_sampled_tokens)
    """The tokens that are handed out."""
    position: int = 0
    """Tokens of the prompt read and of the text handed out so far, and the end of the record."""
    finish: Finish | None = None
    end_logprob: float | None = None
    """The log-probability of the end of the record, in nats; None without one, or if it was not requested."""
    error: ServingError | None = None
    snapshot: Snapshot | None = None
    """The stream at `position` or, in an update that was merged of several, before."""

    @cached_property
    def text(self) -> str:
        """The text of the tokens."""
        return "".join(self.texts)

    @property
    def final(self) -> bool:
        """Whether the stream ends with it."""
        return self.finish is not None or self.error is not None
