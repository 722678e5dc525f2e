"""A model in this process, straight from a bundle: no server, no gRPC.

    from serving.local import LocalModel

    model = LocalModel("bundle")
    for text in model.generate("ROMEO:", n=3, max_tokens=200, seed=1):
        print(text)

Texts, scores and vectors are to the bit those of a server of the same execution class.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from charloom.bundle import Bundle
from charloom.options import GenerateOptions, check, no_string
from charloom.score import Score
from serving.commands.text_model import TextEnding, TextPiece
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.engine.embedding import embedding, embedding_specs
from serving.engine.engine import Engine
from serving.engine.request import Request, find_labels, prepare
from serving.engine.stream import Stream
from serving.engine.text_requests import embedding_requests
from serving.engine.update import Update
from serving.model import Model
from serving.offline.local_source import LocalSource

MAX_STREAMS = 256
"""Texts that are generated or read at the same time."""
LATENCY_BUDGET = 0.1
"""Longest time of a burst in seconds: how often text appears."""


class LocalModel:
    """A bundle that generates, scores and embeds texts. Not for several threads at once."""

    def __init__(self, bundle: str | Path | Bundle, config: RunnerConfig | None = None) -> None:
        """Opens a bundle and checks it on this hardware.

        Args:
            bundle: its directory, or the bundle itself if it is open.
            config: where and how it runs.

        Raises:
            CharloomError: the bundle cannot be used; see `Model.load`.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.model = Model.of(opened, config or RunnerConfig())

    @property
    def label_columns(self) -> dict[str, list[str]]:
        """The labels that every record of the model has, and what each can be."""
        columns = self.model.bundle.vocabulary.ids.special.labels
        return {column.name: list(column.values) for column in columns}

    def generate(
        self, prompt: str = "", *, n: int = 1, labels: Sequence[str] = (), **options: Any
    ) -> list[str]:
        """Generates n texts that continue a prompt.

        Args:
            prompt: read first, not repeated in the texts.
            n: how many; the text at index i has the first seed plus i.
            labels: one value for each of `label_columns`.
            options: the fields of `charloom.options.GenerateOptions`.

        Raises:
            InvalidRequestError: the prompt or an option cannot be used.
        """
        texts = [""] * n
        for piece in self.stream(prompt, GenerateOptions(**options), n=n, labels=labels):
            texts[piece.index] += piece.text
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

    def stream(
        self, prompt: str, options: GenerateOptions, *, n: int = 1, labels: Sequence[str] = ()
    ) -> Iterator[TextPiece]:
        """Generates n texts at the same time and yields their pieces as they are made.

        Raises:
            InvalidRequestError: the prompt or an option cannot be used.
            ServingError: a burst failed.
        """
        check(options, n)
        request = self._request(prompt, options, labels)
        engine = self._engine(n)
        for index, update in run(engine, engine.submit_texts(request, n)):
            ending = update.finish and TextEnding(update.finish.value, update.stream.released)
            yield TextPiece(index, update.text, ending)

    def attempt_source(
        self,
        prompt: str,
        options: GenerateOptions,
        *,
        labels: Sequence[str] = (),
        max_batch: int = MAX_STREAMS,
    ) -> LocalSource:
        """Returns what runs attempts in large numbers.

        Args:
            prompt: read first, not repeated in the texts.
            options: how to generate; attempt i has the seed plus i.
            labels: one value for each of `label_columns`.
            max_batch: attempts computed together in one burst.

        Raises:
            InvalidRequestError: the prompt or an option cannot be used.
        """
        check(options)
        return LocalSource(self.model, self._request(prompt, options, labels), max_batch)

    def score(
        self,
        texts: Sequence[str],
        prompt: str = "",
        *,
        labels: Sequence[str] = (),
        skip_unknown: bool = False,
        ranks: bool = False,
    ) -> list[Score]:
        """Returns the log-probability of each token of each text, read after the prompt.

        Args:
            texts: each is scored by itself; of a model of records each is a whole record, with its end.
            prompt: read first, and not scored.
            labels: one value for each of `label_columns`.
            skip_unknown: whether characters that the model does not know are left out.
            ranks: whether the rank of each token is found too.

        Raises:
            InvalidRequestError: the prompt has characters that the model has not, or the labels are not its.
            ServingError: a burst failed.
        """
        given = no_string(labels, "labels")
        prepared = self.model.texts_to_score(texts, prompt, skip=skip_unknown, ranks=ranks, labels=given)
        scorers = [self.model.scorer(text) for text in prepared]
        scores = [Score() for _ in texts]
        for index, update in self._read([text.request for text in prepared]):
            scores[index].extend(scorers[index].part(update))
        return scores

    def embed(
        self, texts: Sequence[str], *, labels: Sequence[str] = (), skip_unknown: bool = False
    ) -> list[list[float]]:
        """Returns a vector of length 1 for each text; the inner product of two is their similarity.

        Raises:
            InvalidRequestError: one is empty, or has characters that the model has not, or the model has no
                embeddings.
            ServingError: a burst failed.
        """
        specs = embedding_specs(self.model.bundle.manifest.embedding, self.model.executor.state)
        bundle = self.model.bundle
        requests = embedding_requests(
            texts,
            bundle.vocabulary,
            skip=skip_unknown,
            labels=find_labels(no_string(labels, "labels"), bundle.vocabulary),
            delimiter=bundle.delimiter,
        )
        vectors: list[list[float]] = [[] for _ in texts]
        for index, update in self._read(requests):
            if update.snapshot is not None:
                vectors[index] = embedding(update.snapshot.state, specs).tolist()
        return vectors

    def _request(self, prompt: str, options: GenerateOptions, labels: Sequence[str]) -> Request:
        """Makes the request for a text."""
        bundle = self.model.bundle
        found = find_labels(no_string(labels, "labels"), bundle.vocabulary)
        return prepare(prompt, options, bundle.vocabulary, labels=found, delimiter=bundle.delimiter)

    def _engine(self, streams: int) -> Engine:
        """Returns an engine for so many streams."""
        config = SchedulerConfig(
            max_streams=max(1, min(streams, MAX_STREAMS)), max_waiting=streams, latency_budget=LATENCY_BUDGET
        )
        return self.model.engine(config)

    def _read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Update]]:
        """Runs several requests at the same time."""
        engine = self._engine(len(requests))
        return run(engine, engine.submit_all(requests))


def run(engine: Engine, streams: Sequence[Stream]) -> Iterator[tuple[int, Update]]:
    """Runs all streams of an engine to their end; yields each update with the index of its stream.

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
