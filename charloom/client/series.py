"""Series of texts on their way from a server: many of one prompt by one call, each handed over whole."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any

import charloom.v1.charloom_pb2 as pb
from charloom.client.piece import to_reason
from charloom.client.request_error import RequestError, ended_early
from charloom.client.responses import read, read_async
from charloom.client.retried_call import RetriedCall
from charloom.client.retries import RetryConfig
from charloom.client.series_journal import SeriesJournal
from charloom.client.servers import Start


@dataclass(slots=True)
class SeriesText:
    """One whole text of a series."""

    index: int
    """Its index in the series: its seed is the series' seed plus this."""
    text: str = ""
    finish: str = ""
    """How it ended: length, stop or end."""
    generated_tokens: int = 0
    token_ids: list[int] = field(default_factory=list)
    """If they were requested ..."""
    logprobs: list[float] = field(default_factory=list)
    """... and so for these, in nats."""
    end_logprob: float | None = None
    """Nats, of the end of a record, if the text ended so and log-probabilities were requested."""


class SeriesAttempts(RetriedCall):
    """What both kinds of series have in common: the texts that are done, and how the others are requested."""

    def __init__(
        self,
        start: Start,
        message: pb.GenerateSeriesRequest,
        indexes: range,
        timeout: float | None,
        config: RetryConfig,
        addresses: int,
    ) -> None:
        """Makes the first call.

        Args:
            start: begins a call on the next server.
            message: the request, without indexes.
            indexes: those of its texts.
            timeout: see RetriedCall.
            config: see RetriedCall.
            addresses: see RetriedCall.
        """
        super().__init__(timeout, config, addresses)
        self.model = ""
        self.bundle_digest = ""
        self.execution_class = ""
        self.seed: int | None = None
        """The seed in use, known from the first response on; of the text at index 0."""
        self.exact = True
        """False once texts come from a server of another execution class than the first ones."""
        self._start = start
        self._message = message
        self._journal = SeriesJournal(indexes)
        self._parts: dict[int, SeriesText] = {}
        """Long texts that came in part."""
        self._next_call: Any = start(self._request(), timeout) if indexes else None
        self._call = self._next_call

    def _request(self) -> pb.GenerateSeriesRequest:
        """The request for all texts that are missing, or as many as one can have."""
        request = pb.GenerateSeriesRequest()
        request.CopyFrom(self._message)
        self._journal.fill(request)
        if self.seed is not None:
            request.generate.seed = self.seed
            request.generate.bundle_digest = self.bundle_digest
            request.generate.execution_class = self.execution_class
        return request

    def _begin(self) -> Any:
        """Returns the next call; the first one was begun at once."""
        call, self._next_call = self._next_call, None
        if call is None:
            left = self._left()
            call = self._call = self._start(self._request(), left)
        self._parts = {}
        return call

    def _receive(self, response: pb.GenerateSeriesResponse) -> Iterator[SeriesText]:
        """Yields the texts that end with a response."""
        if response.HasField("start"):
            start = response.start
            self.exact = self.exact and start.exact
            if self.seed is None:
                self.seed, self.model = start.seed, start.model
                self.bundle_digest, self.execution_class = start.bundle_digest, start.execution_class
        self._retries.reset()
        columns = zip(
            response.indexes, response.texts, response.token_counts, response.finish_reasons, strict=True
        )
        ids, logprobs = response.token_ids, response.logprobs
        ends = iter(response.end_logprobs)
        place = 0
        for index, text, count, reason in columns:
            part = self._parts.pop(index, None) or SeriesText(index)
            part.text += text
            part.generated_tokens += count
            if ids:
                part.token_ids += ids[place : place + count]
            if logprobs:
                part.logprobs += logprobs[place : place + count]
            place += count
            if not reason:
                self._parts[index] = part
                continue
            part.finish = to_reason(reason)
            if reason == pb.FINISH_REASON_END:
                part.end_logprob = next(ends, None)
            self._journal.finish(index)
            yield part

    def _check_complete(self) -> None:
        """Raises RequestError if a call ended before the texts that it began."""
        if self._journal.unfinished:
            raise ended_early()

    def _delay(self, error: RequestError) -> float:
        """Seconds until the next attempt; raises the error where there is to be none."""
        return self._delay_after(error, begun=self.seed is not None)


class Series(SeriesAttempts):
    """Texts on their way; iterate for them, in the order in which they end."""

    def __iter__(self) -> Iterator[SeriesText]:
        """Yields whole texts; raises RequestError if one cannot be had from any server."""
        while self._journal.left:
            try:
                with closing(read(self._begin(), self._idle_timeout)) as responses:
                    for response in responses:
                        yield from self._receive(response)
                self._check_complete()
            except RequestError as error:
                time.sleep(self._delay(error))


class AsyncSeries(SeriesAttempts):
    """Texts on their way, for `async for`, in the order in which they end."""

    async def __aiter__(self) -> AsyncIterator[SeriesText]:
        """Yields whole texts; raises RequestError if one cannot be had from any server."""
        while self._journal.left:
            try:
                reading = read_async(self._begin(), self._idle_timeout, lambda: self._cancelled)
                async with aclosing(reading) as responses:
                    async for response in responses:
                        for text in self._receive(response):
                            yield text
                self._check_complete()
            except RequestError as error:
                await asyncio.sleep(self._delay(error))
