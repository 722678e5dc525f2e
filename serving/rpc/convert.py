"""Between proto messages and the engine's own types. Proto types stop in this folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import charloom.v1.charloom_pb2 as pb
from charloom.errors import require
from charloom.options import (
    MAX_ALTERNATIVES,
    MAX_NAMED,
    MAX_STOPS,
    MAX_TEMPERATURES,
    GenerateOptions,
    InvalidRequestError,
    Token,
    Violation,
    unless_between,
)
from charloom.vocabulary import Vocabulary
from serving.engine.choices import Choices
from serving.engine.request import Finish, Request, Update, prepare
from serving.models import Model

T = TypeVar("T")

FINISH = {Finish.LENGTH: pb.FINISH_REASON_LENGTH, Finish.STOP: pb.FINISH_REASON_STOP}
SAME = {field.name for field in fields(GenerateOptions)} - set(MAX_NAMED)
"""Options of the same form on the wire: all but those that name tokens."""
LISTED = MAX_NAMED | {"stop": MAX_STOPS, "temperature": MAX_TEMPERATURES}
"""Most entries of each list."""


@dataclass(frozen=True)
class RequestLimits:
    """What one request may ask for."""

    default_tokens: int = GenerateOptions.max_tokens
    """Tokens generated where a request does not say how many."""
    most_tokens: int = 1_000_000
    """Most tokens a request may ask for."""
    most_prompt: int = 1_000_000
    """Most characters of a prompt, or of a text that a conversation is fed at once."""
    most_texts: int = 128
    """Most texts that one request may ask for."""

    def __post_init__(self) -> None:
        require(self.default_tokens >= 1, "default-tokens", "must be at least 1")
        require(self.most_tokens >= self.default_tokens, "most-tokens", "must be default-tokens or more")
        require(self.most_prompt >= 0, "most-prompt", "must be 0 or more")
        require(self.most_texts >= 1, "most-texts", "must be at least 1")

    def violations(self, message: pb.GenerateRequest, options: GenerateOptions) -> Iterator[Violation]:
        """What of a request goes beyond them."""
        if options.max_tokens > self.most_tokens:
            reason = f"must be at most {self.most_tokens} here, not {options.max_tokens}"
            yield Violation("max_tokens", reason)
        yield from unless_between("n", [text_count(message)], 1, self.most_texts)
        yield from unless_between("logprobs", [message.logprobs], 0, MAX_ALTERNATIVES)

    def unless_short(self, field: str, text: str) -> Iterator[Violation]:
        """What is wrong with a text to be read, if it is longer than a prompt may be."""
        if len(text) > self.most_prompt:
            reason = f"must be at most {self.most_prompt} characters here, not {len(text)}"
            yield Violation(field, reason)


@dataclass(frozen=True)
class Text:
    """A text that is asked for."""

    model: Model
    asked: pb.GenerateRequest
    """The request that it was begun with."""
    exact: bool
    """Whether it is to the byte that of an undisturbed stream."""


def to_request(message: pb.GenerateRequest, vocabulary: Vocabulary, limits: RequestLimits) -> Request:
    """Reads a request, with the defaults for what it leaves out.

    Raises:
        InvalidRequestError: fields have unusable values; it names every one of them.
    """
    options = to_options(message, limits)
    violations = list(limits.violations(message, options))
    if too_long := list(limits.unless_short("prompt", message.prompt)):
        raise InvalidRequestError([*options.violations(), *violations, *too_long])
    wanted = message.logprobs if message.HasField("logprobs") else None
    try:
        request = prepare(message.prompt, options, vocabulary, wanted)
    except InvalidRequestError as error:
        raise InvalidRequestError([*error.violations, *violations]) from error
    if violations:
        raise InvalidRequestError(violations)
    return request


def to_options(message: pb.GenerateRequest, limits: RequestLimits) -> GenerateOptions:
    """The options of a request; where one is absent, its default."""
    given: dict[str, Any] = {field.name: value for field, value in message.ListFields() if field.name in SAME}
    given.setdefault("max_tokens", limits.default_tokens)
    for name in given.keys() & LISTED.keys():
        given[name] = some(given[name], name)
    for name in ("stop_tokens", "allowed_tokens", "forbidden_tokens"):
        given[name] = tuple(map(to_token, some(getattr(message, name), name)))
    biases = some(message.logit_bias, "logit_bias")
    given["logit_bias"] = tuple((to_token(bias.token), bias.bias) for bias in biases)
    return GenerateOptions(**given)


def some(listed: Sequence[T], field: str) -> Sequence[T]:
    """As much of a list as shows whether it is too long: a flood is not worth reading."""
    return listed[: LISTED[field] + 1]


def to_token(token: pb.Token) -> Token:
    """What a token is named by; one without a name has no text, which no token of a model has."""
    return token.id if token.HasField("id") else token.text


def text_count(message: pb.GenerateRequest) -> int:
    """How many texts are asked for."""
    return message.n if message.HasField("n") else 1


def to_start(text: Text, request: Request) -> pb.GenerateResponse:
    """The first response."""
    model = text.model
    return pb.GenerateResponse(
        start=pb.Start(
            model=model.name,
            bundle_digest=model.bundle.digest,
            execution_class=str(model.runner.execution_class),
            seed=request.seed,
            exact=text.exact,
        )
    )


def to_response(
    message: pb.GenerateRequest, index: int, update: Update, vocabulary: Vocabulary
) -> pb.GenerateResponse:
    """A later response, with what the request asked for."""
    choices = update.choices
    response = pb.GenerateResponse(index=index, text=update.text, position=update.position)
    if message.token_ids:
        response.token_ids.extend(choices.tokens.tolist())
    if message.HasField("logprobs"):
        response.logprobs.extend(choices.logprobs.tolist())
    if message.logprobs:
        response.alternatives.extend(to_alternatives(choices, vocabulary))
    if update.finish is not None:
        response.finish.reason = FINISH[update.finish]
        response.finish.prompt_tokens = update.stream.request.start
        response.finish.generated_tokens = update.stream.released
    return response


def to_score(index: int, update: Update) -> pb.ScoreResponse:
    """A part of the scores of one text."""
    return pb.ScoreResponse(
        index=index,
        token_ids=update.choices.tokens.tolist(),
        logprobs=update.choices.logprobs.tolist(),
        last=update.finish is not None,
        token_texts=update.texts,
    )


def to_alternatives(choices: Choices, vocabulary: Vocabulary) -> Iterator[pb.Alternatives]:
    """The likeliest tokens in the place of each one that was chosen."""
    for tokens, logprobs in zip(choices.top_tokens, choices.top_logprobs.tolist(), strict=True):
        yield pb.Alternatives(
            alternatives=[
                pb.Alternative(token_id=token, text=vocabulary.token_text(token), logprob=logprob)
                for token, logprob in zip(tokens.tolist(), logprobs, strict=True)
            ]
        )


def to_model(model: Model) -> pb.Model:
    """A model's description."""
    manifest = model.bundle.manifest
    architecture = manifest.architecture
    return pb.Model(
        name=manifest.name,
        version=manifest.version,
        bundle_digest=model.bundle.digest,
        execution_class=str(model.runner.execution_class),
        precision=model.runner.precision,
        cell=architecture.cell,
        layers=architecture.layers,
        cells=architecture.cells,
        parameters=architecture.parameters,
        vocabulary_size=manifest.vocabulary_size,
        validation_loss=float(manifest.training.get("validation_loss", "nan")),
        state_bytes=sum(spec.nbytes for spec in model.runner.state),
    )
