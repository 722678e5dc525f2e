"""Requests that read whole texts: to score them, or to make vectors of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import Vocabulary
from serving.engine.request import Request, encode
from serving.engine.snapshot import Labels


@dataclass(frozen=True)
class TextToScore:
    """A text to be scored."""

    request: Request
    """Hands out all of its tokens with their log-probabilities, and the end of the record, if records end."""
    unknown: int = 0
    """Number of its characters that the vocabulary lacks."""
    unread: tuple[tuple[int, str], ...] = ()
    """Those of them that count although the model reads no token for them, in order: pieces of the text, each
    with the number of characters before it that the model does read."""


def texts_to_score(
    texts: Sequence[str],
    prompt: str,
    vocabulary: Vocabulary,
    *,
    skip: bool,
    ranks: bool = False,
    labels: Labels = (),
    delimiter: str | None = None,
) -> list[TextToScore]:
    """Makes the request for each text, which is read after the prompt.

    Args:
        texts: the texts.
        prompt: read before each, and not scored.
        vocabulary: the model's.
        skip: whether unknown characters are left out.
        ranks: whether the rank of each token is requested.
        labels: those of every text.
        delimiter: what is between the model's records, if anything is; the prompt cannot have it, while a
            text that does is as surprising as its characters are.

    Raises:
        InvalidRequestError: the prompt has the delimiter, or characters that the model has not.
    """
    read = encode("prompt", prompt, vocabulary, delimiter, skip=skip)
    end = np.array([] if vocabulary.end is None else [vocabulary.end], np.int64)
    prepared = []
    for index, text in enumerate(texts):
        unknown = vocabulary.unknown_pieces(text)
        leaves_out = bool(unknown) and (skip or vocabulary.unknown is None)
        known = encode(f"texts[{index}]", text, vocabulary, skip=leaves_out)
        record = np.concatenate([known, end])
        request = Request(
            read, len(record), 0, logprobs=0, ranks=ranks, labels=labels, replay=record, scored=True
        )
        characters = sum(len(piece) for _, piece in unknown)
        counts = leaves_out and not skip
        prepared.append(TextToScore(request, characters, unread_pieces(unknown) if counts else ()))
    return prepared


def unread_pieces(unknown: Sequence[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """Returns unknown pieces, each with the number of known characters before it instead of its place."""
    before = accumulate((len(piece) for _, piece in unknown), initial=0)
    return tuple((place - n, piece) for (place, piece), n in zip(unknown, before, strict=False))


def embedding_requests(
    texts: Sequence[str],
    vocabulary: Vocabulary,
    *,
    skip: bool,
    labels: Labels = (),
    delimiter: str | None = None,
) -> list[Request]:
    """One request for each text, each handing out the state after it.

    Raises:
        InvalidRequestError: one is empty, or has the delimiter, or characters that the model has not.
    """
    encoded = [encode(f"texts[{i}]", text, vocabulary, delimiter, skip=skip) for i, text in enumerate(texts)]
    for index, text in enumerate(encoded):
        if not len(text):
            raise InvalidRequestError([Violation(f"texts[{index}]", "is empty: nothing has no vector")])
    return [Request(text, 0, 0, labels=labels, returns_state=True) for text in encoded]
