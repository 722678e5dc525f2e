"""Resolving: finds the model of a call for text and opens the state that it resumes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.options import InvalidRequestError, Violation
from charloom.vocabulary import no_tokens
from serving.engine.request import Request
from serving.engine.snapshot import Snapshot
from serving.errors import InexactError, OtherBundleError
from serving.models import Models
from serving.rpc import state_token
from serving.rpc.convert import Text, text_count, to_labels, to_request
from serving.rpc.limits import RequestLimits
from serving.rpc.security.sealing import Sealer
from serving.rpc.state_token import DELIVERY_FIELDS, Saved
from serving.served_model import ServedModel

MAX_NAME = 256
"""Most characters of a bundle's digest and of an execution class, far beyond any real one."""


@dataclass(frozen=True)
class Resolver:
    """Turns messages that ask for text, new or resumed, into requests of the engine."""

    models: Models
    limits: RequestLimits
    sealer: Sealer

    def resolve(self, message: pb.GenerateRequest, caller: bytes | None = None) -> tuple[Text, Request]:
        """Returns the text that a call asks for, and the engine's request.

        Raises:
            InvalidRequestError: fields have unusable values.
            UnknownModelError: there is no such model.
            OtherBundleError: the text was begun with another bundle.
            InexactError: the text would not be exact, as the message requires.
            ServingError: the state cannot be opened; see the sealer.
        """
        if message.resume and not message.state:
            raise InvalidRequestError([Violation("resume", "needs the state of a text")])
        saved, model = self._find(message, caller)
        effective = message if saved is None or not message.resume else resumed(message, saved)
        bundle = model.bundle
        resumes = saved is not None
        request = to_request(effective, bundle.vocabulary, self.limits, bundle.delimiter, resumes=resumes)
        request = replace(
            request,
            origin=None if saved is None else state_token.restore(saved, model.model),
            before=saved.generated if saved is not None and message.resume else 0,
            # One more than allowed shows that they are too many: a flood is not worth reading.
            replay=np.array(message.replay[: request.max_tokens + 1], np.int64),
            returns_state=effective.return_state,
            state_interval=effective.state_interval,
        )
        if violations := list(inconsistent(effective, request, model)):
            raise InvalidRequestError(violations)
        return Text(model, effective, self._exact(message, saved, model)), request

    def resolve_conversation(self, message: pb.Open, caller: bytes | None = None) -> tuple[Text, Request]:
        """Returns the text of a conversation, and the request for the state that it starts in.

        Raises as `resolve` does.
        """
        saved, model = self._find(message, caller)
        text = Text(model, pb.GenerateRequest(), self._exact(message, saved, model))
        labels = to_labels(message, model.bundle.vocabulary, resumes=saved is not None)
        origin: Snapshot | None
        if saved is not None:
            origin = state_token.restore(saved, model.model)
        else:
            origin = None if labels else fresh(model)  # the state of labels is for the engine to compute
        return text, Request(no_tokens(), 0, 0, labels=labels, origin=origin, returns_state=True)

    def _find(
        self, message: pb.GenerateRequest | pb.Open, caller: bytes | None
    ) -> tuple[Saved | None, ServedModel]:
        """Returns what the message's state token holds, if it has one, and the model it is for."""
        if violations := list(overlong(message)):
            raise InvalidRequestError(violations)
        saved = state_token.load(self.sealer.open(message.state, caller)) if message.state else None
        model = self.models.find(message.model or (saved.model if saved is not None else ""))
        if message.bundle_digest not in ("", model.bundle.digest):
            raise OtherBundleError(message.bundle_digest, f"{model.name} {model.bundle.digest}")
        return saved, model

    def _exact(self, message: pb.GenerateRequest | pb.Open, saved: Saved | None, model: ServedModel) -> bool:
        """Returns whether the text will be that of an undisturbed stream; raises if it must be and is not."""
        here = str(model.executor.execution_class)
        replayed = message.execution_class if isinstance(message, pb.GenerateRequest) else ""
        begun = [replayed] if replayed else []
        if saved is not None:
            begun.append(saved.execution_class if saved.exact else "")
        others = [execution_class for execution_class in begun if execution_class != here]
        if message.require_exact and others:
            raise InexactError(others[0], here)
        return not others


def fresh(model: ServedModel) -> Snapshot:
    """Returns the snapshot of a stream that has no token yet."""
    state = {spec.name: spec.initial_rows(1) for spec in model.executor.state}
    return Snapshot(state, model.bundle.vocabulary.start, 0, no_tokens())


def overlong(message: pb.GenerateRequest | pb.Open) -> Iterator[Violation]:
    """Yields a violation for each name that is longer than any real one."""
    for field in ("bundle_digest", "execution_class"):
        if (length := len(getattr(message, field, ""))) > MAX_NAME:
            yield Violation(field, f"must have at most {MAX_NAME} characters, not {length}")


def resumed(message: pb.GenerateRequest, saved: Saved) -> pb.GenerateRequest:
    """Returns the request that a saved text was begun with, delivered as `message` says.

    Raises:
        InvalidRequestError: the message has options of its own.
    """
    present = {field.name for field, _ in message.ListFields()}
    reason = "must be absent: the text goes on as it was begun"
    if violations := [Violation(name, reason) for name in sorted(present - DELIVERY_FIELDS)]:
        raise InvalidRequestError(violations)
    try:
        begun = pb.GenerateRequest.FromString(saved.request)
    except Exception as error:  # protobuf's DecodeError has no public name that types know
        raise state_token.unusable("holds no request") from error
    for name in DELIVERY_FIELDS:
        begun.ClearField(name)  # type: ignore[arg-type]
    begun.MergeFrom(message)
    return begun


def inconsistent(message: pb.GenerateRequest, request: Request, model: ServedModel) -> Iterator[Violation]:
    """Yields what of a resumed text does not fit together."""
    begun = request.before + len(message.replay)
    if not 0 <= request.before <= begun <= request.max_tokens:
        reason = f"and the state hold {begun} tokens, more than max_tokens, {request.max_tokens}"
        yield Violation("replay", reason)
    if not len(request.replay):
        return
    if request.replay.max() >= model.bundle.vocabulary.size:
        yield Violation(
            "replay", f"holds ids that are none of the model's {model.bundle.vocabulary.size} tokens"
        )
    if not message.HasField("seed"):
        yield Violation("seed", "must be given, of the text whose tokens are replayed")
    if text_count(message) != 1:
        yield Violation("n", "must be 1 where tokens are replayed: they are of one text")
