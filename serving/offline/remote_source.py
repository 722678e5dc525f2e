"""The source of attempts on a server: series of texts, brought into the order of their numbers."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing

from charloom.client import Client, ModelInfo, RequestError, SeriesText
from charloom.novelty import NoveltyFilter
from charloom.options import GenerateOptions
from serving.offline.attempt import Attempt

MAX_PENDING = 2**22
"""Tokens of attempts that may wait for an earlier one to end."""


class RemoteSource:
    """Runs attempts of a model on a server; implements `AttemptSource`."""

    def __init__(
        self,
        client: Client,
        info: ModelInfo,
        prompt: str,
        options: GenerateOptions,
        labels: Sequence[str],
        max_batch: int,
    ) -> None:
        """Prepares to run attempts.

        Args:
            client: of the server.
            info: the model.
            prompt: read first, not repeated in the texts.
            options: how to generate, with the seed of the attempt whose number is 0.
            labels: one value for each of the model's labels.
            max_batch: attempts that run at the same time, at the most; the server may allow fewer.
        """
        assert options.seed is not None, "attempts have seeds that follow from it"
        self.client = client
        self.info = info
        self.prompt = prompt
        self.options = options
        self.labels = labels
        # Those that run take turns, so while one makes all its tokens each other makes about as many.
        self.parallel = max(1, min(max_batch, MAX_PENDING // max(1, options.max_tokens)))
        self.computed = 0
        """Tokens of attempts: what the server computed beyond them, its metrics tell."""

    @property
    def model(self) -> str:
        """See AttemptSource."""
        return self.info.bundle_digest

    @property
    def execution_class(self) -> str:
        """See AttemptSource."""
        return self.info.execution_class

    @property
    def can_end(self) -> bool:
        """See AttemptSource."""
        options, end = self.options, self.info.end
        if options.stop or options.stop_tokens:
            return True
        if end is None or end in options.forbidden_tokens or options.ignore_end:
            return False
        return options.min_tokens < options.max_tokens and end in (options.allowed_tokens or (end,))

    @property
    def delimiter(self) -> str | None:
        """See AttemptSource."""
        return self.info.delimiter

    @property
    def novelty(self) -> NoveltyFilter | None:
        """None: the filter is not sent."""
        return None

    @property
    def lacks_novelty(self) -> str:
        """See AttemptSource."""
        return "needs --bundle: a server does not give its filter of the training text away"

    def attempts(self, numbers: range) -> Generator[Sequence[Attempt], None, None]:
        """See AttemptSource; waits for a server that has no room.

        Raises:
            RequestError: the server cannot do it.
        """
        finished: dict[int, Attempt] = {}
        yielded = 0
        with closing(self._texts(numbers)) as texts:
            for text in texts:
                finished[text.index] = to_attempt(text)
                ready = []
                while yielded < len(numbers) and numbers[yielded] in finished:
                    ready.append(finished.pop(numbers[yielded]))
                    yielded += 1
                if ready:
                    self.computed += sum(attempt.tokens for attempt in ready)
                    yield ready

    def _texts(self, numbers: range) -> Generator[SeriesText, None, None]:
        """Yields texts as they end, by one call of as many at the same time as the server allows."""
        begun = False
        while not begun:
            series = self.client.generate_series(
                self.prompt,
                indexes=numbers,
                model=self.info.name,
                parallel=self.parallel,
                labels=self.labels,
                bundle_digest=self.info.bundle_digest,
                execution_class=self.info.execution_class,
                require_exact=True,
                **vars(self.options),
            )
            try:
                for text in series:
                    begun = True
                    yield text
                begun = True
            except RequestError as error:
                # Once there is text, the client has tried all that there is to try.
                if begun or not is_full(error):
                    raise
                self.parallel = max(1, self.parallel // 2)
                time.sleep(error.retry_after or 0)


def to_attempt(text: SeriesText) -> Attempt:
    """Returns the attempt that a text is."""
    tokens = text.generated_tokens + (text.finish == "end")
    return Attempt(text.index, text.text, tokens, text.finish != "length")


def is_full(error: RequestError) -> bool:
    """Whether a server would have room for fewer texts, or has room later."""
    if error.code.name == "RESOURCE_EXHAUSTED":
        return error.retry_after is not None
    return {violation.field for violation in error.violations} == {"parallel"}
