"""What a graph takes from outside is looked at before the runtime sees it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from charloom.bundle import Bundle
from charloom.manifest import BundleError
from export.build import build_graphs
from networks.recurrent.config import RecurrentConfig
from serving.engine.graph_reader import GraphError, read_weights
from serving.engine.sessions import open_session
from tests.export.conftest import random_model

FILE = "float32.safetensors"


@pytest.fixture(scope="module")
def built():
    return build_graphs(random_model(RecurrentConfig("lstm", 2, 5, 3), 7), "float32")


def refused(model, weights, *words):
    with pytest.raises(GraphError) as caught:
        read_weights(model.SerializeToString(), FILE, weights)
    for word in words:
        assert word in str(caught.value)


def external(name, shape=(2, 2), **where):
    """A float32 tensor that lies somewhere else."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": FILE, "offset": 0, "length": 16} | where).items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model_of(*initializers, nodes=()):
    graph = helper.make_graph(list(nodes), "g", [], [], list(initializers))
    return helper.make_model(graph)


@pytest.mark.parametrize("kind", ["read", "plain", "full"])
def test_the_weights_are_those_of_the_file(built, kind):
    found = read_weights(built.graphs[kind], FILE, built.weights.data)
    assert sorted(found) == sorted(built.weights_of[kind])
    for name, array in found.items():
        np.testing.assert_array_equal(array, built.weights.tensors[name])
        assert not array.flags.owndata, "a view of the file, and no copy"


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../float32.safetensors", "secret", "int8.safetensors", ""]
)
def test_no_other_file_is_named(location):
    refused(model_of(external("w", location=location)), bytes(64), "'w'", repr(location))


def test_a_tensor_without_a_location():
    tensor = external("w")
    del tensor.external_data[:]
    refused(model_of(tensor), bytes(64), "None")


@pytest.mark.parametrize(
    "where",
    [
        {"offset": -16},
        {"offset": 60},
        {"offset": 10**30},
        {"length": 12},
        {"length": 32},
        {"length": -16},
        {"offset": "x"},
        {"length": ""},
        {"shape": (2, 3)},
        {"shape": (-2, -2)},
        {"shape": (2**40, 2**40)},
    ],
    ids=str,
)
def test_a_place_that_cannot_hold_the_tensor(where):
    refused(model_of(external("w", **where)), bytes(64), FILE, "'w'")


def test_a_type_without_numbers():
    tensor = external("w")
    tensor.data_type = TensorProto.STRING
    refused(model_of(tensor), bytes(64), "'w'")


def body_of(tensor):
    """A tensor in the branch of a conditional."""
    branch = helper.make_graph([], "branch", [], [], [tensor])
    return [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]


def constant_of(tensor):
    """A tensor as the value of a constant."""
    return [helper.make_node("Constant", [], ["y"], value=tensor)]


@pytest.mark.parametrize("wrap", [body_of, constant_of], ids=["body", "constant"])
@pytest.mark.parametrize("location", [FILE, "/etc/passwd"])
def test_external_data_anywhere_but_in_the_outermost_graph(wrap, location):
    nodes = wrap(external("w", location=location))
    refused(model_of(nodes=nodes), bytes(64), "no initializer of the outermost graph")


def test_external_data_in_a_function():
    model = model_of()
    nodes = constant_of(external("w", location="/etc/passwd"))
    model.functions.append(helper.make_function("local", "f", [], ["y"], nodes, []))
    refused(model, bytes(64), "no initializer of the outermost graph")


@pytest.mark.parametrize("data", [b"no protobuf", b"\xff" * 40])
def test_what_is_no_model(data):
    with pytest.raises(GraphError, match="no ONNX model"):
        read_weights(data, FILE, b"")


def test_a_bundle_that_names_a_file_of_the_working_directory_is_refused(bundle_dir, tmp_path, monkeypatch):
    """Though every digest agrees."""
    (tmp_path / "secret").write_bytes(bytes(2**20))
    monkeypatch.chdir(tmp_path)
    bundle = Bundle.open(bundle_dir)
    model = onnx.load_model_from_string(bundle.graph("float32", "plain"))
    [tensor, *_] = [t for t in model.graph.initializer if t.external_data]
    tensor.external_data[0].value = "secret"
    monkeypatch.setattr(bundle, "graph", lambda *_: model.SerializeToString())
    with pytest.raises(BundleError, match=r"\.onnx: takes .* from 'secret'"):
        open_session(bundle, "float32", "plain", "cpu", threads=1)
