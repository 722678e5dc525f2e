"""State tokens: a snapshot of a stream and the request of its text, as bytes that a client keeps.

They are encrypted and authenticated elsewhere (`serving/rpc/security/sealing.py`).
"""

import msgspec
import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.burst import StateSpec, recode
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

CONSUMED_FIELDS = {"prompt", "skip_unknown", "n"}
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
    state: dict[str, tuple[str, bytes]]
    """Type and bytes of each state tensor."""


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
            state={name: (tensor.dtype.name, tensor.tobytes()) for name, tensor in snapshot.state.items()},
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
    return Snapshot(restore_state(saved, model.executor.state), saved.last, saved.position, recent)


def restore_state(saved: Saved, specs: list[StateSpec]) -> State:
    """Returns the state tensors, [1, ...] each, converted to this precision if saved in another."""
    if saved.state.keys() != {spec.name for spec in specs}:
        raise unusable("does not hold the tensors of the model's state")
    state: State = {}
    for spec in specs:
        dtype, data = saved.state[spec.name]
        if dtype not in ("float32", "uint8") or len(data) != spec.size * np.dtype(dtype).itemsize:
            raise unusable(f"holds a tensor {spec.name} of another size")
        tensor = np.frombuffer(data, dtype).reshape(1, *spec.shape)
        if dtype != "uint8" and not np.isfinite(tensor).all():
            raise unusable(f"holds a tensor {spec.name} that is not finite")
        state[spec.name] = recode(tensor, spec.dtype)
    return state


def unusable(reason: str) -> InvalidRequestError:
    """Makes the error of a token that a server sealed and that holds no valid state."""
    return InvalidRequestError([Violation("state", reason)])
