"""Conversion between proto messages and the engine's types. Only this folder uses proto types."""

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
    Violation,
)
from charloom.vocabulary import Vocabulary
from serving.engine.request import Request, find_labels, prepare
from serving.engine.sampled_tokens import SampledTokens
from serving.engine.snapshot import Labels
from serving.engine.text_scorer import TextScorer
from serving.engine.update import Finish, Update
from serving.model import Model
from serving.rpc.limits import RequestLimits
from serving.served_model import ServedModel

T = TypeVar("T")

FINISH = {
    Finish.LENGTH: pb.FINISH_REASON_LENGTH,
    Finish.STOP: pb.FINISH_REASON_STOP,
    Finish.END: pb.FINISH_REASON_END,
}
PLAIN_FIELDS = {field.name for field in fields(GenerateOptions)} - set(MAX_NAMED)
"""Options that have the same form on the wire: all but those that name tokens."""
LIST_LIMITS = MAX_NAMED | {"stop": MAX_STOPS, "temperature": MAX_TEMPERATURES}
"""Most entries of each list."""


@dataclass(frozen=True)
class Text:
    """A text to generate."""

    model: ServedModel
    message: pb.GenerateRequest
    """The request that it was begun with."""
    exact: bool
    """Whether it is to the byte that of an undisturbed stream."""


def to_request(
    message: pb.GenerateRequest,
    vocabulary: Vocabulary,
    limits: RequestLimits,
    delimiter: str | None = None,
    *,
    resumes: bool = False,
) -> Request:
    """Returns the engine's request for a message, with defaults for absent fields.

    Args:
        message: what the client asks for.
        vocabulary: the model's.
        limits: how much it may ask for.
        delimiter: what is between the model's records, if anything is.
        resumes: whether the text goes on from a state, which has its labels.

    Raises:
        InvalidRequestError: fields have unusable values; it names every one of them.
    """
    options = to_options(message, limits)
    violations = list(limits.violations(options, text_count(message), message.logprobs))
    labels: Labels = ()
    try:
        labels = to_labels(message, vocabulary, resumes=resumes)
    except InvalidRequestError as error:
        violations += error.violations
    if too_long := list(limits.unless_short("prompt", message.prompt)):
        raise InvalidRequestError([*options.violations(), *violations, *too_long])
    logprobs = message.logprobs if message.HasField("logprobs") else None
    try:
        request = prepare(message.prompt, options, vocabulary, logprobs, labels=labels, delimiter=delimiter)
    except InvalidRequestError as error:
        raise InvalidRequestError([*error.violations, *violations]) from error
    if violations:
        raise InvalidRequestError(violations)
    return request


def to_labels(
    message: pb.GenerateRequest | pb.Open | pb.ScoreRequest | pb.EmbedRequest,
    vocabulary: Vocabulary,
    *,
    resumes: bool = False,
) -> Labels:
    """Returns the tokens of a message's labels; none for a stream that goes on from a state, which has them.

    Raises:
        InvalidRequestError: they are not those of the model.
    """
    if not resumes:
        return find_labels(message.labels, vocabulary)
    if message.labels:
        raise InvalidRequestError([Violation("labels", "must be absent: the state has its own")])
    return ()


def to_options(message: pb.GenerateRequest, limits: RequestLimits) -> GenerateOptions:
    """Returns the options of a request; an absent one has its default."""
    values: dict[str, Any] = {
        field.name: value for field, value in message.ListFields() if field.name in PLAIN_FIELDS
    }
    values.setdefault("max_tokens", limits.default_tokens)
    for name in values.keys() & LIST_LIMITS.keys():
        values[name] = truncated(values[name], name)
    for name in ("stop_tokens", "allowed_tokens", "forbidden_tokens"):
        values[name] = tuple(map(to_token, truncated(getattr(message, name), name)))
    biases = truncated(message.logit_bias, "logit_bias")
    values["logit_bias"] = tuple((to_token(bias.token), bias.bias) for bias in biases)
    return GenerateOptions(**values)


def truncated(entries: Sequence[T], field: str) -> Sequence[T]:
    """Returns at most one entry more than the field may have: enough to refuse it, and no flood."""
    return entries[: LIST_LIMITS[field] + 1]


def to_token(token: pb.Token) -> Token:
    """Returns the id or text that names a token; an empty message names the empty text, which is no token."""
    return token.id if token.HasField("id") else token.text


def text_count(message: pb.GenerateRequest) -> int:
    """Returns how many texts a message asks for."""
    return message.n if message.HasField("n") else 1


def to_start(text: Text, seed: int, notes: Sequence[str] = ()) -> pb.Start:
    """Returns what the text, whose first seed is this, depends on beside its request, and notes on that."""
    model = text.model
    return pb.Start(
        model=model.name,
        bundle_digest=model.bundle.digest,
        execution_class=str(model.executor.execution_class),
        seed=seed,
        exact=text.exact,
        notes=notes,
    )


def to_response(
    message: pb.GenerateRequest, index: int, update: Update, vocabulary: Vocabulary
) -> pb.GenerateResponse:
    """Returns a later response, with the fields that the request asked for."""
    sampled = update.sampled
    response = pb.GenerateResponse(index=index, text=update.text, position=update.position)
    if message.token_ids:
        response.token_ids.extend(sampled.tokens.tolist())
    if message.HasField("logprobs"):
        response.logprobs.extend(sampled.logprobs.tolist())
    if message.logprobs:
        response.alternatives.extend(to_alternatives(sampled, vocabulary))
    if update.finish is not None:
        response.finish.reason = FINISH[update.finish]
        response.finish.prompt_tokens = update.stream.request.start
        response.finish.generated_tokens = update.stream.released
        if update.end_logprob is not None:
            response.finish.end_logprob = update.end_logprob
    return response


def to_score(index: int, update: Update, scorer: TextScorer) -> pb.ScoreResponse:
    """Returns a part of the scores of one text."""
    part = scorer.part(update)
    return pb.ScoreResponse(
        index=index,
        token_ids=part.token_ids,
        logprobs=part.logprobs,
        last=update.finish is not None,
        token_texts=part.token_texts,
        unknown=part.unknown,
        ranks=part.ranks,
    )


def to_alternatives(sampled: SampledTokens, vocabulary: Vocabulary) -> Iterator[pb.Alternatives]:
    """Yields the likeliest tokens at the position of each sampled one."""
    for tokens, logprobs in zip(sampled.top_tokens, sampled.top_logprobs.tolist(), strict=True):
        yield pb.Alternatives(
            alternatives=[
                pb.Alternative(token_id=token, text=vocabulary.token_text(token), logprob=logprob)
                for token, logprob in zip(tokens.tolist(), logprobs, strict=True)
            ]
        )


def to_model(model: Model) -> pb.Model:
    """Returns the description of a model."""
    manifest = model.bundle.manifest
    architecture = manifest.architecture
    config = Struct()
    config.update(architecture.config)
    return pb.Model(
        name=manifest.name,
        version=manifest.version,
        bundle_digest=model.bundle.digest,
        execution_class=str(model.executor.execution_class),
        precision=model.executor.precision,
        network=pb.Network(
            kind=architecture.kind,
            version=architecture.version,
            config=config,
            parameters=architecture.parameters,
            description=architecture.description,
        ),
        vocabulary_size=manifest.vocabulary_size,
        validation_loss=float(manifest.training.get("validation_loss", "nan")),
        state_bytes=sum(spec.nbytes for spec in model.executor.state),
        ends=model.bundle.vocabulary.end is not None,
        end=model.bundle.vocabulary.end,
        delimiter=model.bundle.delimiter,
        labels=[
            pb.LabelColumn(name=column.name, values=column.values)
            for column in model.bundle.vocabulary.ids.special.labels
        ],
    )
