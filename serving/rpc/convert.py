"""Between proto messages and the engine's own types. Proto types stop in this folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from google.protobuf.struct_pb2 import Struct

import charloom.v1.charloom_pb2 as pb
from charloom.options import (
    MAX_NAMED,
    MAX_STOPS,
    MAX_TEMPERATURES,
    GenerateOptions,
    InvalidRequestError,
    Token,
)
from charloom.vocabulary import CharacterVocabulary
from serving.engine.choices import Choices
from serving.engine.request import Finish, Request, Update, prepare
from serving.models import Model
from serving.rpc.limits import RequestLimits

T = TypeVar("T")

FINISH = {Finish.LENGTH: pb.FINISH_REASON_LENGTH, Finish.STOP: pb.FINISH_REASON_STOP}
SAME = {field.name for field in fields(GenerateOptions)} - set(MAX_NAMED)
"""Options of the same form on the wire: all but those that name tokens."""
LISTED = MAX_NAMED | {"stop": MAX_STOPS, "temperature": MAX_TEMPERATURES}
"""Most entries of each list."""


@dataclass(frozen=True)
class Text:
    """A text that is asked for."""

    model: Model
    asked: pb.GenerateRequest
    """The request that it was begun with."""
    exact: bool
    """Whether it is to the byte that of an undisturbed stream."""


def to_request(
    message: pb.GenerateRequest, vocabulary: CharacterVocabulary, limits: RequestLimits
) -> Request:
    """Reads a request, with the defaults for what it leaves out.

    Raises:
        InvalidRequestError: fields have unusable values; it names every one of them.
    """
    options = to_options(message, limits)
    violations = list(limits.violations(options, text_count(message), message.logprobs))
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
    message: pb.GenerateRequest, index: int, update: Update, vocabulary: CharacterVocabulary
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
        text=update.text,
    )


def to_alternatives(choices: Choices, vocabulary: CharacterVocabulary) -> Iterator[pb.Alternatives]:
    """The likeliest tokens in the place of each one that was chosen."""
    for tokens, logprobs in zip(choices.top_tokens, choices.top_logprobs.tolist(), strict=True):
        rows = zip(tokens.tolist(), vocabulary.pieces(tokens), logprobs, strict=True)
        yield pb.Alternatives(
            alternatives=[pb.Alternative(token_id=t, text=text, logprob=p) for t, text, p in rows]
        )


def to_model(model: Model) -> pb.Model:
    """A model's description."""
    manifest = model.bundle.manifest
    architecture = manifest.architecture
    config = Struct()
    config.update(architecture.config)
    return pb.Model(
        name=manifest.name,
        version=manifest.version,
        bundle_digest=model.bundle.digest,
        execution_class=str(model.runner.execution_class),
        precision=model.runner.precision,
        network=pb.Network(
            kind=architecture.kind,
            version=architecture.version,
            config=config,
            parameters=architecture.parameters,
            description=architecture.description,
        ),
        vocabulary_size=manifest.vocabulary_size,
        validation_loss=float(manifest.training.get("validation_loss", "nan")),
        state_bytes=sum(spec.nbytes for spec in model.runner.state),
    )
