"""Requests of calls that send texts to be scored or embedded, and the limits on their size."""

from collections.abc import Iterator, Sequence

import charloom.v1.charloom_pb2 as pb
from charloom.bundle import Bundle
from charloom.options import InvalidRequestError, Violation
from serving.engine.request import Request
from serving.engine.text_requests import TextToScore, embedding_requests
from serving.model import Model
from serving.rpc.convert import to_labels
from serving.rpc.limits import MAX_BYTES, RequestLimits


def to_scored(message: pb.ScoreRequest, model: Model, limits: RequestLimits) -> list[TextToScore]:
    """Returns one request of the engine for each text.

    Raises:
        InvalidRequestError: there is no text, or too much, or the model cannot score it.
    """
    check_size(message.texts, limits, message.prompt)
    return model.texts_to_score(
        message.texts,
        message.prompt,
        skip=message.skip_unknown,
        ranks=message.ranks,
        labels=message.labels,
    )


def to_read(message: pb.EmbedRequest, bundle: Bundle, limits: RequestLimits) -> list[Request]:
    """Returns one request of the engine for each text.

    Raises:
        InvalidRequestError: there is no text, or too much, or an empty one, or it has characters that
            the model has not.
    """
    check_size(message.texts, limits)
    return embedding_requests(
        message.texts,
        bundle.vocabulary,
        skip=message.skip_unknown,
        labels=to_labels(message, bundle.vocabulary),
        delimiter=bundle.delimiter,
    )


def size(texts: Sequence[str], prompt: str = "") -> int:
    """Returns the number of characters of texts and of the prompt that is read before each."""
    return sum(map(len, texts)) + len(prompt)


def together(parts: Sequence[pb.ScoreResponse]) -> Iterator[pb.ScoreResponse]:
    """Yields responses that hold the parts of several texts each, no more than gRPC's clients take."""
    some: list[pb.ScoreResponse] = []
    size = 0
    for part in parts:
        if some and size + part.ByteSize() > MAX_BYTES:
            yield pb.ScoreResponse(parts=some)
            some, size = [], 0
        some.append(part)
        size += part.ByteSize()
    if some:
        yield pb.ScoreResponse(parts=some)


def check_size(texts: Sequence[str], limits: RequestLimits, prompt: str = "") -> None:
    """Raises InvalidRequestError unless there are texts, and no more than a request may have."""
    if not 1 <= len(texts) <= limits.max_texts:
        reason = f"must be 1 to {limits.max_texts} here, not {len(texts)}"
        raise InvalidRequestError([Violation("texts", reason)])
    if (length := size(texts, prompt)) > limits.max_prompt:
        reason = f"must have at most {limits.max_prompt} characters together here, not {length}"
        raise InvalidRequestError([Violation("texts", reason)])
