"""Given texts: requests that read them, to be scored or to become vectors."""

from collections.abc import Sequence

import charloom.v1.charloom_pb2 as pb
from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import CharacterVocabulary, Tokens, UnknownCharacterError, no_tokens
from serving.engine.request import Request
from serving.rpc.convert import RequestLimits


def to_scored(
    message: pb.ScoreRequest, vocabulary: CharacterVocabulary, limits: RequestLimits
) -> list[Request]:
    """One request for each text, each handing out all of its tokens with their log-probabilities.

    Raises:
        InvalidRequestError: there is no text, or too much, or it has characters that the model has not.
    """
    check_size(message.texts, limits, len(message.prompt))
    prompt = encode("prompt", message.prompt, vocabulary, skip=message.skip_unknown)
    texts = encode_all(message.texts, vocabulary, skip=message.skip_unknown)
    return [Request(prompt, len(text), 0, logprobs=0, replay=text, scored=True) for text in texts]


def to_read(
    message: pb.EmbedRequest, vocabulary: CharacterVocabulary, limits: RequestLimits
) -> list[Request]:
    """One request for each text, each handing out the state after it.

    Raises:
        InvalidRequestError: there is no text, or too much, or an empty one, or it has characters that
            the model has not.
    """
    check_size(message.texts, limits)
    texts = encode_all(message.texts, vocabulary, skip=message.skip_unknown)
    for index, text in enumerate(texts):
        if not len(text):
            raise InvalidRequestError([Violation(f"texts[{index}]", "is empty: nothing has no vector")])
    return [Request(text, 0, 0, returns_state=True) for text in texts]


def check_size(texts: Sequence[str], limits: RequestLimits, more: int = 0) -> None:
    """Raises InvalidRequestError unless there are texts, and no more of them than a request may bring."""
    if not 1 <= len(texts) <= limits.most_texts:
        reason = f"must be 1 to {limits.most_texts} here, not {len(texts)}"
        raise InvalidRequestError([Violation("texts", reason)])
    size = sum(map(len, texts)) + more
    if size > limits.most_prompt:
        reason = f"must have at most {limits.most_prompt} characters together here, not {size}"
        raise InvalidRequestError([Violation("texts", reason)])


def encode_all(texts: Sequence[str], vocabulary: CharacterVocabulary, *, skip: bool) -> list[Tokens]:
    """The token ids of each text."""
    return [encode(f"texts[{i}]", text, vocabulary, skip=skip) for i, text in enumerate(texts)]


def encode(field: str, text: str, vocabulary: CharacterVocabulary, *, skip: bool) -> Tokens:
    """The token ids of a text [T]; raises InvalidRequestError for characters that the model has not."""
    if not text:
        return no_tokens()
    try:
        return vocabulary.encode(text, skip_unknown=skip)
    except UnknownCharacterError as error:
        reason = f"has {error}; set skip_unknown to leave them out"
        raise InvalidRequestError([Violation(field, reason)]) from error
