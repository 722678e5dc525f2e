"""Requests that read whole texts: to score them, or to make vectors of them."""

from collections.abc import Sequence

from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import Tokens, Vocabulary
from serving.engine.request import Request, encode
from serving.engine.snapshot import Labels


def scoring_requests(
    texts: Sequence[str],
    prompt: str,
    vocabulary: Vocabulary,
    *,
    skip: bool,
    labels: Labels = (),
    delimiter: str | None = None,
) -> list[Request]:
    """One request for each text, each handing out all of its tokens with their log-probabilities.

    Raises:
        InvalidRequestError: one has characters that the model has not.
    """
    read = encode("prompt", prompt, vocabulary, delimiter, skip=skip)
    encoded = encode_all(texts, vocabulary, delimiter, skip=skip)
    return [
        Request(read, len(text), 0, logprobs=0, labels=labels, replay=text, scored=True) for text in encoded
    ]


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
        InvalidRequestError: one is empty, or has characters that the model has not.
    """
    encoded = encode_all(texts, vocabulary, delimiter, skip=skip)
    for index, text in enumerate(encoded):
        if not len(text):
            raise InvalidRequestError([Violation(f"texts[{index}]", "is empty: nothing has no vector")])
    return [Request(text, 0, 0, labels=labels, returns_state=True) for text in encoded]


def encode_all(
    texts: Sequence[str], vocabulary: Vocabulary, delimiter: str | None, *, skip: bool
) -> list[Tokens]:
    """The token ids of each text."""
    return [encode(f"texts[{i}]", text, vocabulary, delimiter, skip=skip) for i, text in enumerate(texts)]
