"""Requests that read whole texts: to score them, or to make vectors of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import Tokens, UnknownCharacterError, Vocabulary
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
    """Those of them that count although the model reads no token for them, in order: each with the number of
    characters before it that the model does read."""


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
        unknown = unknown_places(text, vocabulary)
        leaves_out = bool(unknown) and (skip or vocabulary.unknown is None)
        known = encode(f"texts[{index}]", text, vocabulary, skip=leaves_out)
        record = np.concatenate([known, end])
        request = Request(
            read, len(record), 0, logprobs=0, ranks=ranks, labels=labels, replay=record, scored=True
        )
        counts = leaves_out and not skip
        unread = tuple((place - n, text[place]) for n, place in enumerate(unknown)) if counts else ()
        prepared.append(TextToScore(request, len(unknown), unread))
    return prepared


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


def unknown_places(text: str, vocabulary: Vocabulary) -> list[int]:
    """Returns the places of the characters of a text that a vocabulary lacks."""
    if not has_unknown(text, vocabulary):
        return []
    unknown = {character for character in set(text) if has_unknown(character, vocabulary)}
    return [place for place, character in enumerate(text) if character in unknown]


def has_unknown(text: str, vocabulary: Vocabulary) -> bool:
    """Returns whether a text has characters that a vocabulary lacks."""
    try:
        tokens: Tokens = vocabulary.encode(text)
    except UnknownCharacterError:
        return True
    return vocabulary.unknown is not None and vocabulary.unknown in tokens
