"""A model in this process, straight from a bundle: no server, no gRPC.

    from serving.local import LocalModel

    model = LocalModel("bundle")
    for text in model.generate("ROMEO:", n=3, max_tokens=200, seed=1):
        print(text)

Texts, scores and vectors are to the bit those that a server of the same execution class gives.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from charloom.options import GenerateOptions, check
from charloom.score import Score
from serving.engine.embedding import embedding
from serving.engine.engine import Engine
from serving.engine.request import Request, Stream, Update, prepare
from serving.engine.runner import RunnerConfig
from serving.engine.scheduler import SchedulerConfig
from serving.engine.text_requests import embedding_requests, scoring_requests
from serving.models import Model

MOST_STREAMS = 256
"""Texts that are generated or read at the same time."""
PACE = 0.1
"""How long a burst may take, in seconds: nobody waits for a place, so only the eye sets the pace."""


class LocalModel:
    """A bundle to generate from, and to ask what it makes of given texts. Not for several threads at once."""

    def __init__(self, bundle: str | Path, config: RunnerConfig | None = None) -> None:
        """Opens a bundle and proves it exact on this hardware; `Model.load` says what it raises."""
        self.model = Model.load(bundle, config or RunnerConfig())

    def generate(self, prompt: str = "", *, n: int = 1, **options: Any) -> list[str]:
        """Generates n texts that continue a prompt.

        Args:
            prompt: read first, not repeated in the texts.
            n: how many; the text at index i has the first seed plus i.
            options: the fields of `charloom.options.GenerateOptions`.

        Raises:
            InvalidRequestError: the prompt or an option cannot be used.
        """
        texts = [""] * n
        for index, piece, _ in self.stream(prompt, GenerateOptions(**options), n=n):
            texts[index] += piece
        return texts

    def generate_to_file(self, path: str | Path, prompt: str = "", *, n: int = 1, **options: Any) -> None:
        """Generates n texts into a UTF-8 file, each ended by a newline."""
        texts = self.generate(prompt, n=n, **options)
        Path(path).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")

    def samples(
        self,
        temperatures: Sequence[float] = (0.2, 0.5, 1.0),
        prompt: str = "",
        *,
        n: int = 1,
        **options: Any,
    ) -> dict[float, list[str]]:
        """Generates n texts at each of several temperatures."""
        return {t: self.generate(prompt, n=n, temperature=t, **options) for t in temperatures}

    def stream(self, prompt: str, options: GenerateOptions, *, n: int = 1) -> Iterator[tuple[int, str, bool]]:
        """Generates n texts side by side and yields their pieces as they are made.

        Each comes with the index of its text before it, and whether the text is complete after it.

        Raises:
            InvalidRequestError: the prompt or an option cannot be used.
            ServingError: a burst failed.
        """
        check(options, n)
        request = prepare(prompt, options, self.model.bundle.vocabulary)
        engine = self._engine(n)
        for index, update in run(engine, engine.submit_texts(request, n)):
            yield index, update.text, update.final

    def score(self, texts: Sequence[str], prompt: str = "", *, skip_unknown: bool = False) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt.

        Raises:
            InvalidRequestError: one has characters that the model has not.
            ServingError: a burst failed.
        """
        requests = scoring_requests(texts, prompt, self.model.bundle.vocabulary, skip=skip_unknown)
        scores = [Score() for _ in texts]
        for index, update in self._read(requests):
            choices = update.choices
            scores[index].add(choices.tokens.tolist(), choices.logprobs.tolist(), update.texts)
        return scores

    def embed(self, texts: Sequence[str], *, skip_unknown: bool = False) -> list[list[float]]:
        """Gives a vector of length 1 for each text; the inner product of two says how near they are.

        Raises:
            InvalidRequestError: one is empty, or has characters that the model has not.
            ServingError: a burst failed.
        """
        requests = embedding_requests(texts, self.model.bundle.vocabulary, skip=skip_unknown)
        vectors: list[list[float]] = [[] for _ in texts]
        for index, update in self._read(requests):
            if update.snapshot is not None:
                vectors[index] = embedding(update.snapshot).tolist()
        return vectors

    def _engine(self, streams: int) -> Engine:
        """An engine with room for so many."""
        config = SchedulerConfig(
            max_streams=max(1, min(streams, MOST_STREAMS)), max_waiting=streams, latency_budget=PACE
        )
        return self.model.engine(config)

    def _read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Update]]:
        """Runs several requests side by side."""
        engine = self._engine(len(requests))
        return run(engine, engine.submit_all(requests))


def run(engine: Engine, streams: Sequence[Stream]) -> Iterator[tuple[int, Update]]:
    """Runs all streams of an engine to their end; each update comes with the index of its stream.

    Raises:
        ServingError: a burst failed.
    """
    index = {stream: i for i, stream in enumerate(streams)}
    while not engine.empty:
        for update in engine.step().updates:
            if update.error is not None:
                raise update.error
            update.stream.consumed = update.stream.released
            yield index[update.stream], update
