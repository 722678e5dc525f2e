"""Texts that were begun before: what a call that goes on with one comes to.

It knows the rules of going on, and neither how a state is sealed nor how a stream is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import no_tokens
from serving.engine.request import Request
from serving.engine.snapshot import Snapshot
from serving.errors import InexactError, OtherBundleError
from serving.models import Model, Models
from serving.rpc import state_token
from serving.rpc.convert import Text, text_count, to_request
from serving.rpc.limits import RequestLimits
from serving.rpc.security.sealing import Sealer
from serving.rpc.state_token import BESIDE_RESUME, Saved

MOST_NAME = 256
"""Characters of a bundle's digest and of an execution class, far beyond any real one."""


@dataclass(frozen=True)
class Opening:
    """Finds what calls for text come to, begun before or not."""

    models: Models
    limits: RequestLimits
    sealer: Sealer

    def open(self, message: pb.GenerateRequest, caller: bytes | None = None) -> tuple[Text, Request]:
        """The text that a call asks for, and what the engine is asked.

        Raises:
            InvalidRequestError: fields have unusable values.
            UnknownModelError: there is no such model.
            OtherBundleError: it was begun with another bundle.
            InexactError: it would not be exact, and has to be.
            ServingError: the state cannot be opened; see the sealer.
        """
        if message.resume and not message.state:
            raise InvalidRequestError([Violation("resume", "needs the state of a text")])
        saved, model = self._find(message, caller)
        asked = message if saved is None or not message.resume else resumed(message, saved)
        request = to_request(asked, model.bundle.vocabulary, self.limits)
        request = replace(
            request,
            origin=None if saved is None else state_token.restore(saved, model),
            before=saved.generated if saved is not None and message.resume else 0,
            # No more than shows that they are too many: a flood is not worth reading.
            replay=np.array(message.replay[: request.max_tokens + 1], np.int64),
            returns_state=asked.return_state,
            state_interval=asked.state_interval,
        )
        if violations := list(unfit(asked, request, model)):
            raise InvalidRequestError(violations)
        return Text(model, asked, self._exact(message, saved, model)), request

    def converse(self, message: pb.Open, caller: bytes | None = None) -> tuple[Text, Snapshot]:
        """What a conversation is about, and where it begins; raises as `open` does."""
        saved, model = self._find(message, caller)
        text = Text(model, pb.GenerateRequest(), self._exact(message, saved, model))
        return text, fresh(model) if saved is None else state_token.restore(saved, model)

    def _find(
        self, message: pb.GenerateRequest | pb.Open, caller: bytes | None
    ) -> tuple[Saved | None, Model]:
        """What was saved, if anything, and the model that is asked for."""
        if violations := list(overlong(message)):
            raise InvalidRequestError(violations)
        saved = state_token.load(self.sealer.open(message.state, caller)) if message.state else None
        model = self.models.find(message.model or (saved.model if saved is not None else ""))
        if message.bundle_digest not in ("", model.bundle.digest):
            raise OtherBundleError(message.bundle_digest, f"{model.name} {model.bundle.digest}")
        return saved, model

    def _exact(self, message: pb.GenerateRequest | pb.Open, saved: Saved | None, model: Model) -> bool:
        """Whether it will be to the byte the text of an undisturbed stream; raises if it has to be."""
        here = str(model.runner.execution_class)
        replayed = message.execution_class if isinstance(message, pb.GenerateRequest) else ""
        begun = [replayed] if replayed else []
        if saved is not None:
            begun.append(saved.execution_class if saved.exact else "")
        others = [execution_class for execution_class in begun if execution_class != here]
        if message.require_exact and others:
            raise InexactError(others[0], here)
        return not others


def fresh(model: Model) -> Snapshot:
    """Where a stream begins."""
    state = {spec.name: spec.initial_rows(1) for spec in model.runner.state}
    return Snapshot(state, model.bundle.vocabulary.start, 0, no_tokens())


def overlong(message: pb.GenerateRequest | pb.Open) -> Iterator[Violation]:
    """What a request names at a length that nothing of its kind has."""
    for field in ("bundle_digest", "execution_class"):
        if (length := len(getattr(message, field, ""))) > MOST_NAME:
            yield Violation(field, f"must have at most {MOST_NAME} characters, not {length}")


def resumed(message: pb.GenerateRequest, saved: Saved) -> pb.GenerateRequest:
    """The request for the text that was saved, sent as `message` says.

    Raises:
        InvalidRequestError: the message has options of its own.
    """
    given = {field.name for field, _ in message.ListFields()}
    reason = "must be absent: the text goes on as it was begun"
    if violations := [Violation(name, reason) for name in sorted(given - BESIDE_RESUME)]:
        raise InvalidRequestError(violations)
    try:
        asked = pb.GenerateRequest.FromString(saved.request)
    except Exception as error:  # protobuf's DecodeError has no public name that types know
        raise state_token.unusable("holds no request") from error
    for name in BESIDE_RESUME:
        asked.ClearField(name)  # type: ignore[arg-type]
    asked.MergeFrom(message)
    return asked


def unfit(asked: pb.GenerateRequest, request: Request, model: Model) -> Iterator[Violation]:
    """What of a text that goes on does not fit together."""
    begun = request.before + len(asked.replay)
    if not 0 <= request.before <= begun <= request.max_tokens:
        reason = f"and the state hold {begun} tokens, more than max_tokens, {request.max_tokens}"
        yield Violation("replay", reason)
    if not len(request.replay):
        return
    if request.replay.max() >= model.bundle.vocabulary.size:
        yield Violation(
            "replay", f"holds ids that are none of the model's {model.bundle.vocabulary.size} tokens"
        )
    if not asked.HasField("seed"):
        yield Violation("seed", "must be given, of the text whose tokens are replayed")
    if text_count(asked) != 1:
        yield Violation("n", "must be 1 where tokens are replayed: they are of one text")
