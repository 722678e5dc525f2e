"""State tokens: where a stream stands and what its text was asked for, as bytes that a client keeps.

It knows what is in them. That nobody reads or alters them on their way is the sealer's
(`serving/rpc/security/sealing.py`); what is done with a stream that goes on is the engine's.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.bundle import Precision
from charloom.burst import Array, Feeds, StateSpec
from charloom.options import MAX_WINDOW, InvalidRequestError, Violation
from serving.engine.request import Request
from serving.engine.snapshot import Snapshot
from serving.errors import OtherBundleError
from serving.models import Model
from serving.rpc.convert import Text

LATEST = 2**62
"""No stream gets to this position."""

BESIDE_RESUME = {
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
"""What may stand in a request that goes on with a text: how it is sent, and not what it is."""

READ = {"prompt", "skip_unknown", "n"}
"""What is done with by the time a text has a state."""


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a token."""

    model: str
    digest: str
    execution_class: str
    exact: bool
    """Whether it is to the bit where an undisturbed stream would be."""
    request: bytes
    """The GenerateRequest of the text: its options, its seed among them."""
    generated: int
    """Tokens of the text so far."""
    last: int
    position: int
    recent: bytes
    """Little-endian uint32 each."""
    precision: Precision
    """The precision whose state tensors these are."""
    state: dict[str, bytes]
    """The tensors, little-endian and row by row."""


def save(text: Text, request: Request, snapshot: Snapshot) -> bytes:
    """The bytes of a stream that stands where a snapshot says."""
    asked = pb.GenerateRequest()
    asked.CopyFrom(text.asked)
    for field in READ | BESIDE_RESUME:
        asked.ClearField(field)  # type: ignore[arg-type]
    # Nobody bounds what this version does not know, and a token is not to carry it.
    asked.DiscardUnknownFields()
    # Not another server's defaults.
    asked.seed, asked.max_tokens = request.seed, request.max_tokens
    return msgspec.msgpack.encode(
        Saved(
            model=text.model.name,
            digest=text.model.bundle.digest,
            execution_class=str(text.model.runner.execution_class),
            exact=text.exact,
            request=asked.SerializeToString(),
            generated=snapshot.position - request.start,
            last=snapshot.last,
            position=snapshot.position,
            recent=snapshot.recent.astype("<u4").tobytes(),
            precision=text.model.runner.precision,
            state={name: to_bytes(tensor) for name, tensor in snapshot.state.items()},
        )
    )


def load(payload: bytes) -> Saved:
    """What was saved.

    Raises:
        InvalidRequestError: these bytes are nothing that this version saves.
    """
    try:
        return msgspec.msgpack.decode(payload, type=Saved)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unusable(f"is of another version of Charloom: {error}") from error


def restore(saved: Saved, model: Model) -> Snapshot:
    """Where the stream stands, as this model's runner takes it.

    Raises:
        OtherBundleError: it was saved of another bundle.
        InvalidRequestError: it is no state of this model.
    """
    if saved.digest != model.bundle.digest:
        raise OtherBundleError(f"{saved.model} {saved.digest}", f"{model.name} {model.bundle.digest}")
    if len(saved.recent) % 4 or not 0 <= saved.generated <= saved.position < LATEST:
        raise unusable("is where no stream can be")
    recent = np.frombuffer(saved.recent, "<u4").astype(np.int64)[-MAX_WINDOW:]
    size = model.bundle.vocabulary.size
    if not 0 <= saved.last <= size or (recent >= size).any():
        raise unusable("holds tokens that the model has not")
    precisions = model.bundle.manifest.precisions
    if saved.precision not in precisions:
        raise unusable(f"is in the precision {saved.precision}, which the bundle does not have")
    state = restore_state(saved.state, precisions[saved.precision].state, model.runner.state)
    return Snapshot(state, saved.last, saved.position, recent)


def restore_state(saved: dict[str, bytes], theirs: Sequence[StateSpec], ours: Sequence[StateSpec]) -> Feeds:
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
    state: Feeds = {}
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
    """The error of a state that was sealed by a server and is none all the same."""
    return InvalidRequestError([Violation("state", reason)])
