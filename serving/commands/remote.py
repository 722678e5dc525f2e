"""A model on a server, called for as many texts at a time as the server takes."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TypeVar

from charloom.client import Client, RequestError
from charloom.options import GenerateOptions, InvalidRequestError, Violation, seed_of
from charloom.score import Score
from serving.commands.text_model import TextEnding, TextPiece
from serving.offline.remote_source import RemoteSource
from serving.offline.source import AttemptSource

T = TypeVar("T")

MAX_TEXTS = 64
"""Texts of one call, at the most."""


class RemoteModel:
    """A model on a server, as commands use it: `TextModel` by calls."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    @cached_property
    def label_columns(self) -> dict[str, list[str]]:
        """The labels that every record has, and what each can be."""
        return self.client.model(self.name).labels

    def stream(
        self, prompt: str, options: GenerateOptions, *, n: int = 1, labels: Sequence[str] = ()
    ) -> Iterator[TextPiece]:
        """Generates n texts, several at a time; fewer where there is not room for so many."""
        assert options.seed is not None, "all texts but the first call's have seeds that follow from it"
        done, most = 0, MAX_TEXTS
        while done < n:
            count, begun = min(n - done, most), False
            seeded = replace(options, seed=seed_of(options.seed, done))
            try:
                with encodable():
                    generation = self.client.generate(
                        prompt, model=self.name, n=count, labels=labels, **vars(seeded)
                    )
                for piece in generation.pieces():
                    if not (begun or done) and generation.notes:
                        yield TextPiece(0, "", notes=generation.notes)
                    begun = True
                    ending = generation.endings.get(piece.index)
                    ended = None if ending is None else TextEnding(ending.reason, ending.generated_tokens)
                    yield TextPiece(done + piece.index, piece.text, ended)
                done += count
            except RequestError as error:
                # Once there is text, the client has tried all that there is to try.
                if begun or not (crowded(error, "n") or (full(error) and error.retry_after is not None)):
                    raise
                most = max(1, count // 2)
                time.sleep(error.retry_after or 0)

    def attempt_source(
        self, prompt: str, options: GenerateOptions, *, labels: Sequence[str] = (), max_batch: int
    ) -> AttemptSource:
        """Returns what runs attempts in large numbers, by one call.

        Raises:
            RequestError: the server does not say what its model is.
        """
        info = self.client.model(self.name)
        return RemoteSource(self.client, info, prompt, options, labels, max_batch)

    def score(
        self,
        texts: Sequence[str],
        prompt: str = "",
        *,
        labels: Sequence[str] = (),
        skip_unknown: bool = False,
        ranks: bool = False,
    ) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt.

        Raises:
            InvalidRequestError: a text cannot be scored.
            RequestError: the server cannot do it.
        """
        ask = partial(
            self.client.score,
            prompt=prompt,
            model=self.name,
            labels=labels,
            skip_unknown=skip_unknown,
            ranks=ranks,
        )
        return in_parts(ask, texts)

    def embed(
        self, texts: Sequence[str], *, labels: Sequence[str] = (), skip_unknown: bool = False
    ) -> list[list[float]]:
        """Gives a vector of length 1 for each text.

        Raises:
            InvalidRequestError: a text has no vector.
            RequestError: the server cannot do it.
        """
        ask = partial(self.client.embed, model=self.name, labels=labels, skip_unknown=skip_unknown)
        return in_parts(ask, texts)


def in_parts(ask: Callable[[Sequence[str]], list[T]], texts: Sequence[str]) -> list[T]:
    """The answers to all texts in order, by as few calls as the server allows.

    Raises:
        InvalidRequestError: a text cannot be used, were it alone; the field is `texts[its index]`.
        RequestError: the server cannot do it.
    """
    given: list[T] = []
    most = len(texts)
    while len(given) < len(texts):
        part = texts[len(given) : len(given) + most]
        try:
            with encodable():
                given += ask(part)
        except RequestError as error:
            if len(part) > 1 and (full(error) or crowded(error, "texts")):
                most = len(part) // 2
            elif not full(error) or error.retry_after is None:
                raise located(error, len(given), alone=len(part) == 1) from error
            time.sleep(error.retry_after or 0)
    return given


def full(error: RequestError) -> bool:
    """Whether the server, or a message, has no room for so much."""
    return error.code.name == "RESOURCE_EXHAUSTED"


def crowded(error: RequestError, field: str) -> bool:
    """Whether all that is wrong is how much a field asks for."""
    return {violation.field for violation in error.violations} == {field}


def located(error: RequestError, done: int, *, alone: bool) -> RequestError | InvalidRequestError:
    """The error of a call for texts from the index `done` on, with the indices that its caller knows."""
    if not error.violations:
        return error

    def field(name: str) -> str:
        index = re.fullmatch(r"texts\[(\d+)\]", name)
        if index is None:
            return f"texts[{done}]" if alone and name == "texts" else name
        return f"texts[{done + int(index[1])}]"

    return InvalidRequestError([Violation(field(v.field), v.reason) for v in error.violations])


@contextmanager
def encodable() -> Iterator[None]:
    """Raises InvalidRequestError for a text that no call can carry: a shell's argument may be any bytes."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise InvalidRequestError([Violation("text", f"is not UTF-8: {error.object[:40]!r}")]) from error
