"""Embeddings: what a model holds of a text after its last token, as one vector."""

import numpy as np
import numpy.typing as npt

from charloom.burst import recode
from serving.engine.snapshot import Snapshot


def embedding(snapshot: Snapshot) -> npt.NDArray[np.float32]:
    """A vector [L*H] of length 1: the outputs h of all layers side by side."""
    outputs = [tensor[0] for name, tensor in snapshot.state.items() if name.startswith("h_")]
    vector: npt.NDArray[np.float32] = np.concatenate([recode(h, "float32") for h in outputs])
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0 else vector
