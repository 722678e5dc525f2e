"""State tokens: a snapshot of a stream and the request of its text, as bytes that a client keeps.

They are encrypted and authenticated elsewhere (`serving/rpc/security/sealing.py`).
"""

from collections.abc import Sequence

import msgspec
import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.burst import Array, StateSpec
from charloom.execution_class import Precision
from charloom.options import MAX_WINDOW, InvalidRequestError, Violation
from serving.engine.request import Request
from serving.engine.snapshot import Snapshot, State
from serving.errors import OtherBundleError
from serving.model import Model
from serving.rpc.convert import Text

MAX_POSITION = 2**62
"""A position that no stream reaches."""

DELIVERY_FIELDS = {
    "model",
    "state",
    "resume",
    "replay",
    "token_ids",
    "return_state",
    "state_interval",
    "bundle_digest",
    "execution_class",
    "require_exact",
}
"""Fields of a GenerateRequest that say how a text is delivered, not what it is: a resumed text may change
them."""

CONSUMED_FIELDS = {"prompt", "skip_unknown", "n", "labels"}
"""Fields that have no further effect once a text has a state."""


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a state token."""

    model: str
    digest: str
    execution_class: str
    exact: bool
    """Whether the state is to the bit that of an undisturbed stream."""
    request: bytes
    """The GenerateRequest that the text was begun with, its options and its seed."""
    generated: int
    """Tokens of the text so far."""
    last: int
    position: int
    recent: bytes
    """The newest tokens, for penalties: little-endian uint32 each."""
    precision: Precision
    """The precision whose state tensors these are."""
    state: dict[str, bytes]
    """The tensors, little-endian and row by row."""
    labels: tuple[int, ...] = ()
    """The tokens of the labels of its records."""


def save(text: Text, request: Request, snapshot: Snapshot) -> bytes:
    """Returns the bytes of a text's request and a snapshot of its stream."""
    begun = pb.GenerateRequest()
    begun.CopyFrom(text.message)
    for field in CONSUMED_FIELDS | DELIVERY_FIELDS:
        begun.ClearField(field)  # type: ignore[arg-type]
    # Fields that this version does not know have no limit on their size.
    begun.DiscardUnknownFields()
    # The drawn seed and the default length, so that no other server draws or chooses its own.
    begun.seed, begun.max_tokens = request.seed, request.max_tokens
    return msgspec.msgpack.encode(
        Saved(
            model=text.model.name,
            digest=text.model.bundle.digest,
            execution_class=str(text.model.executor.execution_class),
            exact=text.exact,
            request=begun.SerializeToString(),
            generated=snapshot.position - request.start,
            last=snapshot.last,
            position=snapshot.position,
            recent=snapshot.recent.astype("<u4").tobytes(),
            precision=text.model.executor.precision,
            state={name: to_bytes(tensor) for name, tensor in snapshot.state.items()},
            labels=snapshot.labels,
        )
    )


def load(payload: bytes) -> Saved:
    """Decodes what `save` returned.

    Raises:
        InvalidRequestError: another version saved it.
    """
    try:
        return msgspec.msgpack.decode(payload, type=Saved)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unusable(f"is of another version of Charloom: {error}") from error


def restore(saved: Saved, model: Model) -> Snapshot:
    """Returns the snapshot, its state in the model's precision.

    Raises:
        OtherBundleError: it was saved with another bundle.
        InvalidRequestError: it is no state of this model.
    """
    if saved.digest != model.bundle.digest:
        raise OtherBundleError(f"{saved.model} {saved.digest}", f"{model.name} {model.bundle.digest}")
    if len(saved.recent) % 4 or not 0 <= saved.generated <= saved.position < MAX_POSITION:
        raise unusable("is where no stream can be")
    recent = np.frombuffer(saved.recent, "<u4").astype(np.int64)[-MAX_WINDOW:]
    size = model.bundle.vocabulary.size
    if not 0 <= saved.last <= size or (recent >= size).any():
        raise unusable("holds tokens that the model has not")
    if not model.bundle.vocabulary.ids.are_labels(saved.labels):
        raise unusable("holds labels that are not the model's")
    precisions = model.bundle.manifest.precisions
    if saved.precision not in precisions:
        raise unusable(f"is in the precision {saved.precision}, which the bundle does not have")
    state = restore_state(saved.state, precisions[saved.precision].state, model.executor.state)
    return Snapshot(state, saved.last, saved.position, recent, saved.labels)


def restore_state(saved: dict[str, bytes], theirs: Sequence[StateSpec], ours: Sequence[StateSpec]) -> State:
    """Makes state tensors [1, ...] of bytes, converted from the precision that saved them to ours.

    Args:
        saved: bytes of each tensor by name.
        theirs: the state in the precision that saved it.
        ours: the state in the precision of this runner, with the same names and shapes.

    Raises:
        InvalidRequestError: they are no state of this model.
    """
    if saved.keys() != {spec.name for spec in theirs}:
        raise unusable("does not hold the tensors of the model's state")
    by_name = {spec.name: spec for spec in theirs}
    state: State = {}
    for spec in ours:
        source = by_name[spec.name]
        state[spec.name] = spec.converted(from_bytes(saved[spec.name], source), source)
    return state


def to_bytes(tensor: Array) -> bytes:
    """Returns the bytes of a tensor, the same on every machine."""
    return tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()


def from_bytes(data: bytes, spec: StateSpec) -> Array:
    """Returns the tensor [1, ...] of bytes.

    Raises:
        InvalidRequestError: they are no tensor of this specification.
    """
    if len(data) != spec.nbytes:
        raise unusable(f"holds a tensor {spec.name} of another size")
    dtype = np.dtype(spec.dtype)
    tensor = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(1, *spec.shape)
    if dtype.kind == "f" and not np.isfinite(tensor).all():
        raise unusable(f"holds a tensor {spec.name} that is not finite")
    if spec.limit is not None and not ((tensor >= 0) & (tensor < spec.limit)).all():
        raise unusable(f"holds a tensor {spec.name} of numbers that no stream has")
    return tensor


def unusable(reason: str) -> InvalidRequestError:
    """Makes the error of a token that a server sealed and that holds no valid state."""
    return InvalidRequestError([Violation("state", reason)])
