"""Answers: what a call comes to, and how its streams fare, from the first to the last of them.

It knows a model's engine, and neither the call nor how an answer is put into messages.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from serving.engine.async_engine import AsyncEngine, Reader
from serving.engine.request import Update
from serving.models import Model
from serving.rpc.convert import Text


@dataclass(frozen=True)
class Job:
    """What a call comes to."""

    model: Model
    submit: Callable[[AsyncEngine, float | None], Reader]
    """Lets it into the model's engine, with its deadline."""
    text: Text | None = None
    """What is generated."""


class Answer:
    """The streams of a call that was let in."""

    def __init__(self, job: Job, reader: Reader) -> None:
        self.model = job.model
        self.text = job.text
        self.reader = reader
        self.index = {stream: i for i, stream in enumerate(reader.streams)}

    async def updates(self) -> AsyncIterator[Update | None]:
        """All updates until every stream has ended; None where its reader was poked.

        Raises:
            ServingError: a stream failed; what it had to say, and what others had by then, came before.
        """
        left = set(self.reader.streams)
        while left:
            news = await self.reader.next()
            if not news:
                yield None
            for update in news:
                if update.error is None or update.text or update.snapshot is not None:
                    yield update
                if update.final:
                    left.discard(update.stream)
            # Not before: an engine that ends has a last state for every stream, all of them in the same news.
            if failed := [update.error for update in news if update.error is not None]:
                raise failed[0]
