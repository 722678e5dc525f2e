"""Calls that bring texts, to be scored or to become vectors: how much one may bring."""

from collections.abc import Sequence

import charloom.v1.charloom_pb2 as pb
from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import Vocabulary
from serving.engine.request import Request
from serving.engine.text_requests import embedding_requests, scoring_requests
from serving.rpc.convert import RequestLimits


def to_scored(message: pb.ScoreRequest, vocabulary: Vocabulary, limits: RequestLimits) -> list[Request]:
    """What the engine is asked.

    Raises:
        InvalidRequestError: there is no text, or too much, or it has characters that the model has not.
    """
    check_size(message.texts, limits, len(message.prompt))
    return scoring_requests(message.texts, message.prompt, vocabulary, skip=message.skip_unknown)


def to_read(message: pb.EmbedRequest, vocabulary: Vocabulary, limits: RequestLimits) -> list[Request]:
    """What the engine is asked.

    Raises:
        InvalidRequestError: there is no text, or too much, or an empty one, or it has characters that
            the model has not.
    """
    check_size(message.texts, limits)
    return embedding_requests(message.texts, vocabulary, skip=message.skip_unknown)


def check_size(texts: Sequence[str], limits: RequestLimits, more: int = 0) -> None:
    """Raises InvalidRequestError unless there are texts, and no more of them than a request may bring."""
    if not 1 <= len(texts) <= limits.most_texts:
        reason = f"must be 1 to {limits.most_texts} here, not {len(texts)}"
        raise InvalidRequestError([Violation("texts", reason)])
    size = sum(map(len, texts)) + more
    if size > limits.most_prompt:
        reason = f"must have at most {limits.most_prompt} characters together here, not {size}"
        raise InvalidRequestError([Violation("texts", reason)])
