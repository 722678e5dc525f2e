"""State tokens: where a stream stands and what its text was asked for, as bytes that a client keeps.

It knows what is in them. That nobody reads or alters them on their way is the sealer's
(`serving/rpc/security/sealing.py`); what is done with a stream that goes on is the engine's.
"""

import msgspec
import numpy as np

import charloom.v1.charloom_pb2 as pb
from charloom.burst import Feeds, StateSpec, recode
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
    state: dict[str, tuple[str, bytes]]
    """Type and bytes of each tensor."""


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
            state={name: (tensor.dtype.name, tensor.tobytes()) for name, tensor in snapshot.state.items()},
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
    return Snapshot(restore_state(saved, model.runner.state), saved.last, saved.position, recent)


def restore_state(saved: Saved, specs: list[StateSpec]) -> Feeds:
    """The state tensors, [1, ...] each; those of another precision in this one."""
    if saved.state.keys() != {spec.name for spec in specs}:
        raise unusable("does not hold the tensors of the model's state")
    state: Feeds = {}
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
    """The error of a state that was sealed by a server and is none all the same."""
    return InvalidRequestError([Violation("state", reason)])
