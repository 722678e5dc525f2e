"""The burst contract: what goes into and comes out of one call of an exported graph.

One call of the graph, a *burst*, runs up to K steps for B streams. One step of a row feeds its
`last` token, advances the state, and chooses the next token: the next forced one while there is
one, else a sample. This file names the tensors of that call and says nothing of how they are
computed (`export/burst.py`) or run (`serving/engine/runner.py`).

Shapes use one legend throughout the project: B streams, K steps of a burst, T time, L layers,
H cells, V vocabulary; here also W remembered tokens, N logit biases, A alternatives.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
GraphKind = Literal["read", "plain", "full"]
"""The graphs of a bundle, from the one that can least, and is fastest, to the one that can all.

They share one state, and where two of them can do the same they give the same bits.
"""

ALTERNATIVES = 20
"""A: how many of the likeliest tokens the full graph reports (fewer if V is smaller)."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, type and symbolic shape of one input or output of the graph.

    `neutral` fills the tensor for a row that does not use it; None where a row always must.
    """

    name: str
    dtype: str
    dims: tuple[str | int, ...]
    neutral: float | None = None

    def fill(self, sizes: dict[str, int]) -> Array:
        """Makes the neutral array of this tensor; `sizes` gives each symbolic dimension."""
        shape = tuple(sizes[d] if isinstance(d, str) else d for d in self.dims)
        return np.full(shape, self.neutral or 0, dtype=self.dtype)


Specs = tuple[TensorSpec, ...]

READ_INPUTS: Specs = (
    TensorSpec("last", "int64", ("B",)),  # the token the row feeds first
    TensorSpec("forced", "int64", ("K", "B"), 0),  # tokens chosen from outside: a prompt, a replay
)
"""What every burst takes, besides the state. A reading one takes no more: all is forced."""

PLAIN_INPUTS: Specs = (
    *READ_INPUTS,
    TensorSpec("forced_len", "int64", ("B",), 0),  # step i takes forced[i] while i < forced_len
    TensorSpec("uniform", "float32", ("K", "B"), 0),  # one random number in [0, 1) per step
    TensorSpec("temperature", "float32", ("K", "B"), 1),  # per step, so schedules are the host's
)
"""What it takes to sample by temperature. Every row runs all K steps, as in a reading burst."""

FULL_INPUTS: Specs = (
    *PLAIN_INPUTS,
    TensorSpec("steps", "int64", ("B",)),  # steps the row runs; after them it is frozen
    TensorSpec("position", "int64", ("B",), 0),  # tokens the stream had chosen before this burst
    TensorSpec("generation_start", "int64", ("B",), 0),  # position of its first generated token
    TensorSpec("top_k", "int64", ("B",), 0),  # keep the k likeliest tokens; 0 keeps all
    TensorSpec("top_p", "float32", ("B",), 1),  # keep the smallest set of this probability
    TensorSpec("min_p", "float32", ("B",), 0),  # keep tokens of this share of the likeliest
    TensorSpec("typical_p", "float32", ("B",), 1),  # keep the most typical tokens of this probability
    TensorSpec("recent", "int64", ("B", "W"), -1),  # newest last; -1 where there is none
    TensorSpec("window", "int64", ("B",), 0),  # how many of the newest tokens are penalised
    TensorSpec("repetition_penalty", "float32", ("B",), 1),
    TensorSpec("frequency_penalty", "float32", ("B",), 0),
    TensorSpec("presence_penalty", "float32", ("B",), 0),
    TensorSpec("bias_token", "int64", ("B", "N"), 0),
    TensorSpec("bias_value", "float32", ("B", "N"), 0),  # added to the token's logit ...
    TensorSpec("bias_until", "int64", ("B", "N"), 0),  # ... for this many generated tokens
    TensorSpec("allowed", "bool", ("B", "V"), 1),
    TensorSpec("alternatives", "bool", ("B",), 0),  # whether the row wants top_token, top_logprob, rank
)
"""What the full graph takes: every sampler. A row at the neutral values is a plain row."""

PLAIN_OUTPUTS: Specs = (TensorSpec("chosen", "int64", ("K", "B")),)  # a frozen row repeats its last

FULL_OUTPUTS: Specs = (
    *PLAIN_OUTPUTS,
    TensorSpec("logprob", "float32", ("K", "B")),  # nats, by the model itself: temperature 1
    TensorSpec("top_token", "int64", ("K", "B", "A")),  # likeliest first
    TensorSpec("top_logprob", "float32", ("K", "B", "A")),
    TensorSpec("rank", "int64", ("K", "B")),  # of the chosen token among all by score, from 1
)
"""What the full graph gives; of rows that want no alternatives, top_token, top_logprob and rank mean nothing.
Bundles of earlier versions have no ranks."""


class StateSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One tensor of a stream's state; a manifest lists them as they are here.

    A quantised tensor stands for the float32 numbers (tensor - zero) * scale.
    """

    name: str
    dtype: str
    """A name of numpy's, such as float32 or int64."""
    shape: tuple[int, ...]
    """Shape of the row of one stream."""
    initial: int = 0
    """Fills the row of a stream before its first token."""
    scale: float | None = None
    """Scale of a quantised tensor; None for one that holds the numbers themselves."""
    zero: int = 0
    """What stands for 0 in a quantised tensor."""
    limit: int | None = None
    """The integers of the tensor, such as token ids, lie within 0 and limit - 1; None: they may be any."""

    @property
    def output(self) -> str:
        """Name of the graph's output that continues this input."""
        return f"{self.name}_out"

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return self.size * np.dtype(self.dtype).itemsize

    def initial_rows(self, rows: int) -> Array:
        """Makes the rows [rows, ...] of streams before their first token."""
        return np.full((rows, *self.shape), self.initial, dtype=self.dtype)

    def dequantised(self, tensor: Array) -> Array:
        """Returns the numbers that a tensor stands for; the tensor itself if it is not quantised."""
        if self.scale is None:
            return tensor
        return ((tensor.astype(np.float64) - self.zero) * self.scale).astype(np.float32)

    def quantised(self, numbers: Array) -> Array:
        """Returns the tensor that stands for numbers: the nearest one, halves to even."""
        if self.scale is None:
            return numbers.astype(self.dtype)
        bounds = np.iinfo(self.dtype)
        nearest = np.rint(numbers.astype(np.float64) / self.scale) + self.zero
        return nearest.clip(bounds.min, bounds.max).astype(self.dtype)

    def converted(self, tensor: Array, spec: "StateSpec") -> Array:
        """Converts a tensor that another precision of the same bundle specifies by `spec`."""
        return tensor if spec == self else self.quantised(spec.dequantised(tensor))


Feeds = dict[str, Array]
"""Input name to array; what one burst is called with. Outputs come back in the same form."""

INPUTS: dict[GraphKind, Specs] = {"read": READ_INPUTS, "plain": PLAIN_INPUTS, "full": FULL_INPUTS}
OUTPUTS: dict[GraphKind, Specs] = {"read": (), "plain": PLAIN_OUTPUTS, "full": FULL_OUTPUTS}


def neutral(specs: Specs, **sizes: int) -> Feeds:
    """Feeds of rows that do nothing: no forced token, no step, no filter."""
    return {spec.name: spec.fill(sizes) for spec in specs}


def take(feeds: Feeds, specs: Specs, rows: npt.NDArray[np.int64]) -> Feeds:
    """The same burst with these rows only, in this order; what `specs` omits has its rows first."""
    axes = {spec.name: spec.dims.index("B") for spec in specs}
    return {name: np.take(array, rows, axes.get(name, 0)) for name, array in feeds.items()}


def pad(feeds: Feeds, specs: Specs, rows: int) -> Feeds:
    """The same burst brought to at least `rows` rows by copies of its first."""
    missing = rows - len(feeds["last"])
    if missing <= 0:
        return feeds
    indices = np.concatenate([np.arange(len(feeds["last"])), np.zeros(missing, np.int64)])
    return take(feeds, specs, indices)
