"""Between proto messages and the engine's own types. Proto types stop in this folder."""

from dataclasses import dataclass

import charloom.v1.charloom_pb2 as pb
from charloom.errors import require
from charloom.options import GenerateOptions, InvalidRequestError, Violation, choose_seed
from charloom.vocabulary import CharacterVocabulary, UnknownCharacterError
from serving.engine.request import Finish, Request, Update
from serving.models import Model

FINISH = {Finish.LENGTH: pb.FINISH_REASON_LENGTH, Finish.STOP: pb.FINISH_REASON_STOP}


@dataclass(frozen=True)
class RequestLimits:
    """What one request may ask for."""

    default_tokens: int = GenerateOptions.max_tokens
    """Tokens generated where a request does not say how many."""
    most_tokens: int = 1_000_000
    """Most tokens a request may ask for."""
    most_prompt: int = 1_000_000
    """Most characters of a prompt."""

    def __post_init__(self) -> None:
        require(self.default_tokens >= 1, "default-tokens", "must be at least 1")
        require(self.most_tokens >= self.default_tokens, "most-tokens", "must be default-tokens or more")
        require(self.most_prompt >= 0, "most-prompt", "must be 0 or more")


def to_request(
    message: pb.GenerateRequest, vocabulary: CharacterVocabulary, limits: RequestLimits
) -> Request:
    """Reads a request, with the defaults for what it leaves out.

    Raises:
        InvalidRequestError: fields have unusable values; it names every one of them.
    """
    options = to_options(message, limits)
    violations = list(options.violations())
    if options.max_tokens > limits.most_tokens:
        reason = f"must be at most {limits.most_tokens} here, not {options.max_tokens}"
        violations.append(Violation("max_tokens", reason))
    if len(message.prompt) > limits.most_prompt:
        reason = f"must be at most {limits.most_prompt} characters here, not {len(message.prompt)}"
        raise InvalidRequestError([*violations, Violation("prompt", reason)])
    try:
        prompt = vocabulary.encode(message.prompt, skip_unknown=message.skip_unknown)
    except UnknownCharacterError as error:
        hint = f"has {error}; set skip_unknown to leave them out"
        raise InvalidRequestError([*violations, Violation("prompt", hint)]) from error
    if violations:
        raise InvalidRequestError(violations)
    seed = choose_seed() if options.seed is None else options.seed
    return Request(prompt, options.max_tokens, seed, options.sampling, options.stop)


def to_options(message: pb.GenerateRequest, limits: RequestLimits) -> GenerateOptions:
    """The options of a request; where one is absent, its default."""
    given = {
        name: getattr(message, name)
        for name in ("temperature", "top_k", "top_p", "min_p", "seed")
        if message.HasField(name)
    }
    return GenerateOptions(
        **given,
        max_tokens=message.max_tokens if message.HasField("max_tokens") else limits.default_tokens,
        stop=tuple(message.stop),
    )


def to_start(model: Model, request: Request) -> pb.GenerateResponse:
    """The first response."""
    return pb.GenerateResponse(
        start=pb.Start(
            model=model.name,
            bundle_digest=model.bundle.digest,
            execution_class=str(model.runner.execution_class),
            seed=request.seed,
        )
    )


def to_response(message: pb.GenerateRequest, update: Update) -> pb.GenerateResponse:
    """A later response, with what the request asked for."""
    response = pb.GenerateResponse(text=update.text, position=update.position)
    if message.token_ids:
        response.token_ids.extend(update.tokens.tolist())
    if message.logprobs:
        response.logprobs.extend(update.logprobs.tolist())
    if update.finish is not None:
        response.finish.reason = FINISH[update.finish]
        response.finish.prompt_tokens = len(update.stream.request.prompt)
        response.finish.generated_tokens = update.stream.released
    return response


def to_model(model: Model) -> pb.Model:
    """A model's description."""
    manifest = model.bundle.manifest
    architecture = manifest.architecture
    return pb.Model(
        name=manifest.name,
        version=manifest.version,
        bundle_digest=model.bundle.digest,
        execution_class=str(model.runner.execution_class),
        precision=manifest.precision,
        cell=architecture.cell,
        layers=architecture.layers,
        cells=architecture.cells,
        parameters=architecture.parameters,
        vocabulary_size=manifest.vocabulary_size,
        validation_loss=float(manifest.training.get("validation_loss", "nan")),
        state_bytes=sum(spec.nbytes for spec in manifest.state_specs),
    )
