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
        self.series = reader.streams[0].series
        """The series of the streams, if the call is for one."""

    async def updates(self) -> AsyncIterator[Update | None]:
        """Yields all updates one by one, as `bursts` does together; None at a heartbeat."""
        async for updates in self.bursts():
            if not updates:
                yield None
            for update in updates:
                yield update

    async def bursts(self) -> AsyncIterator[list[Update]]:
        """Yields what one burst or more brought for each stream until all have ended; nothing at a heartbeat.

        Raises:
            ServingError: a stream failed; all other updates that came with the failure are yielded first.
        """
        ended = 0
        while not self._over(ended):
            updates = await self.reader.next()
            told = [u for u in updates if u.error is None or u.text or u.snapshot is not None]
            if told or not updates:
                yield told
            ended += sum(update.final for update in updates)
            # Not before: an engine that ends has a last snapshot for every stream, all at the same time.
            if errors := [update.error for update in updates if update.error is not None]:
                raise errors[0]

    def _over(self, ended: int) -> bool:
        """Returns whether all updates were taken, once so many streams have ended."""
        if self.series is None:
            return ended == len(self.reader.streams)
        return not self.series.running and ended == self.series.begun
