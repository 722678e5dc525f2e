"""Updates: what one burst, or an error, brought for one stream. Data only."""

from dataclasses import dataclass, field
from enum import Enum

from serving.engine.sampled_tokens import SampledTokens, no_sampled_tokens
from serving.engine.snapshot import Snapshot
from serving.engine.stream import Stream
from serving.errors import ServingError


class Finish(Enum):
    """How a text ended."""

    LENGTH = "length"
    STOP = "stop"


@dataclass(frozen=True, eq=False)
class Update:
    """New text of a stream, its end, or a snapshot of it."""

    stream: Stream
    text: str = ""
    sampled: SampledTokens = field(default_factory=no_sampled_tokens)
    """The tokens that are handed out."""
    position: int = 0
    """Tokens of the prompt read and of the text handed out so far."""
    finish: Finish | None = None
    error: ServingError | None = None
    snapshot: Snapshot | None = None
    """The stream at `position` or, in an update that was merged of several, before."""

    @property
    def final(self) -> bool:
        """Whether the stream ends with it."""
        return self.finish is not None or self.error is not None
