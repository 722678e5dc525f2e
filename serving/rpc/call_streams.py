"""The streams of one call that was admitted, from the first update to the last."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from serving.engine.async_engine import AsyncEngine, UpdateReader
from serving.engine.update import Update
from serving.rpc.convert import Text
from serving.served_model import ServedModel


@dataclass(frozen=True)
class Submission:
    """What a call submits to the engine of its model."""

    model: ServedModel
    submit: Callable[[AsyncEngine, float | None], UpdateReader]
    """Submits it, with the call's deadline on the clock of `time.monotonic`."""
    text: Text | None = None
    """The text to generate, if it is that."""


class CallStreams:
    """The streams of one call, and the updates of all of them."""

    def __init__(self, submission: Submission, reader: UpdateReader) -> None:
        self.model = submission.model
        self.text = submission.text
        self.reader = reader
        self.index = {stream: i for i, stream in enumerate(reader.streams)}

    async def updates(self) -> AsyncIterator[Update | None]:
        """Yields all updates until every stream has ended; None at a heartbeat.

        Raises:
            ServingError: a stream failed; all other updates that came with the failure are yielded first.
        """
        left = set(self.reader.streams)
        while left:
            updates = await self.reader.next()
            if not updates:
                yield None
            for update in updates:
                if update.error is None or update.text or update.snapshot is not None:
                    yield update
                if update.final:
                    left.discard(update.stream)
            # Not before: an engine that ends has a last snapshot for every stream, all at the same time.
            if errors := [update.error for update in updates if update.error is not None]:
                raise errors[0]
