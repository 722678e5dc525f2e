"""Embeddings: what a model's state holds of a text after its last token, as one vector."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charloom.burst import Feeds, StateSpec
from charloom.options import InvalidRequestError, Violation


def embedding_specs(names: Sequence[str], state: Sequence[StateSpec]) -> list[StateSpec]:
    """Finds the state tensors that make an embedding, in the order of the manifest's names.

    Raises:
        InvalidRequestError: there are none, so the model has no embeddings.
    """
    if not names:
        raise InvalidRequestError([Violation("model", "has no embeddings: its state makes no vector")])
    specs = {spec.name: spec for spec in state}
    return [specs[name] for name in names]


def embedding(state: Feeds, specs: Sequence[StateSpec]) -> npt.NDArray[np.float32]:
    """Joins the state tensors [1, ...] of these specs into a vector of length 1."""
    parts = [spec.dequantised(state[spec.name]).ravel() for spec in specs]
    vector = np.concatenate(parts).astype(np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0 else vector
