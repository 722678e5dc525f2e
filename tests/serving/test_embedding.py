"""Embeddings: which state tensors make them, and what the numbers stand for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from charloom.burst import StateSpec
from charloom.manifest import MANIFEST
from charloom.options import InvalidRequestError
from serving.engine.config import RunnerConfig
from serving.engine.embedding import embedding, embedding_specs
from serving.local import LocalModel
from tests.serving.golden import FOLDER

STATE = [
    StateSpec("a", "float32", (2,)),
    StateSpec("ids", "int64", (3,)),
    StateSpec("b", "uint8", (1, 2), initial=100, scale=0.5, zero=100),
]


def test_the_named_tensors_are_joined_in_their_order() -> None:
    specs = embedding_specs(["b", "a"], STATE)
    state = {
        "a": np.array([[1, -2]], np.float32),
        "ids": np.array([[7, 8, 9]]),
        "b": np.array([[[104, 96]]], np.uint8),
    }
    vector = embedding(state, specs)
    assert vector.dtype == np.float32
    assert vector.tolist() == pytest.approx((np.array([2, -2, 1, -2]) / 13**0.5).tolist())
    zero = {"a": np.zeros((1, 2), np.float32), "b": np.full((1, 1, 2), 100, np.uint8)}
    assert embedding(zero, specs).tolist() == [0, 0, 0, 0]


def test_a_model_without_such_tensors_has_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="has no embeddings"):
        embedding_specs([], STATE)
    shutil.copytree(FOLDER / "rnn", tmp_path / "rnn")
    manifest = json.loads((tmp_path / "rnn" / MANIFEST).read_text())
    manifest["embedding"] = []
    (tmp_path / "rnn" / MANIFEST).write_text(json.dumps(manifest))
    model = LocalModel(tmp_path / "rnn", RunnerConfig("cpu", "float32", threads=1))
    with pytest.raises(InvalidRequestError, match="has no embeddings"):
        model.embed(["a"])
    assert model.generate(max_tokens=2, seed=1)


def test_a_vector_is_the_outputs_of_all_layers() -> None:
    model = LocalModel(FOLDER / "lstm", RunnerConfig("cpu", "float32", threads=1))
    [vector] = model.embed(["a ship"])
    assert len(vector) == 2 * 8
    assert np.linalg.norm(vector) == pytest.approx(1)
