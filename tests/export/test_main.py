"""The export command, from checkpoint to bundle."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load

import charloom
from charloom.bundle import Bundle, BundleWriter
from charloom.burst import INPUTS, OUTPUTS
from charloom.errors import ConfigError
from charloom.manifest import FORMAT, MANIFEST, VOCABULARY, BundleError, graph_file, weights_file
from charloom.vocabulary import CharacterVocabulary
from export import exporter as module
from export import main
from export.build import build_graphs
from export.exporter import Exporter, build_bundle
from export.main import export
from export.verify import VerificationError
from export.weights import WeightsFile
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from serving.engine.config import RunnerConfig
from serving.engine.sessions import open_session
from serving.local import LocalModel
from tests.conftest import PRECISIONS, needs_int8
from training import checkpoint as checkpoint_module
from training.checkpoint import Checkpoint, CheckpointError, find_checkpoint, load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(bundle_dir):
    return Bundle.open(bundle_dir)


@pytest.fixture
def worse_int8(monkeypatch):
    """Lets int8 cost a lot: its products come out half as large again."""

    def build(model, precision, *how):
        graphs = build_graphs(model, precision, *how)
        if precision == "float32":
            return graphs
        scale = {
            n: a * np.float32(1.5) if n.endswith(".scale") else a for n, a in graphs.weights.tensors.items()
        }
        return replace(graphs, weights=WeightsFile(scale))

    monkeypatch.setattr(module, "build_graphs", build)


@pytest.fixture
def graphs_of_the_best(run_dir, monkeypatch):
    """Whatever is exported, the graphs are those of the run's best checkpoint."""
    best = load_checkpoint(run_dir).model()
    monkeypatch.setattr(module, "build_graphs", lambda _, *how: build_graphs(best, *how))


@pytest.fixture
def other_checkpoint(run_dir):
    """A checkpoint of the run that is not its best."""
    best = find_checkpoint(run_dir)
    others = [path.parent for path in run_dir.rglob("checkpoint.json") if path.parent != best]
    assert others, "the run kept its best checkpoint alone"
    return min(others)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def files_of(*precisions):
    """The files of a bundle that only these precisions have."""
    graphs = {graph_file(precision, kind) for precision in precisions for kind in INPUTS}
    return graphs | {weights_file(precision) for precision in precisions}


def test_a_run_stands_for_its_best_checkpoint(run_dir, bundle):
    best = load_checkpoint(run_dir / "best")
    summary = json.loads(json.dumps(best.summary))
    assert bundle.manifest.training == summary
    assert bundle.vocabulary == best.vocabulary


def test_the_manifest_describes_the_bundle(bundle, run_dir):
    manifest, source = bundle.manifest, load_checkpoint(run_dir)
    assert (manifest.format, manifest.name, manifest.version) == (FORMAT, bundle.path.name, "1")
    assert tuple(manifest.precisions) == PRECISIONS
    assert manifest.created_by == f"charloom {charloom.__version__}"
    assert set(manifest.files) == {VOCABULARY, *files_of(*PRECISIONS)}
    assert names(bundle.path) == sorted([MANIFEST, *manifest.files])
    architecture = manifest.architecture
    config = source.config
    assert (architecture.kind, architecture.version) == ("recurrent", 1)
    assert architecture.config == vars(config)
    assert vars(config) == {"cell": "lstm", "layers": 2, "cells": 48, "embedding": 16}
    assert architecture.description == "LSTM, 2 x 48 cells, embedding 16"
    assert manifest.embedding == ["h_0", "h_1"]
    assert architecture.parameters == sum(tensor.numel() for tensor in source.weights.values())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_manifest_describes_the_state(bundle, precision):
    variant = bundle.manifest.precisions[precision]
    h, c = (("uint8", 128) if precision == "int8" else ("float32", 0)), ("float32", 0)
    state = {tensor.name: (tensor.dtype, tensor.initial) for tensor in variant.state}
    assert state == {"h_0": h, "c_0": c, "h_1": h, "c_1": c}
    assert all(tensor.shape == (48,) for tensor in variant.state)
    quantised = {tensor.name: (tensor.scale, tensor.zero) for tensor in variant.state if tensor.scale}
    assert quantised == (dict.fromkeys(["h_0", "h_1"], (1 / 127, 128)) if precision == "int8" else {})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_manifest_says_what_was_verified(bundle, precision):
    verification = bundle.manifest.precisions[precision].verification
    assert verification["tokens_scored"] >= 2000
    assert 1 < verification["nats_per_token"] < 4
    assert verification["execution_class"].startswith(f"{precision}/cpu/onnxruntime-")
    assert verification["execution_class"].endswith(f"/pad{verification['padding']}")
    assert {"batch size", "reading", "thread count"} <= set(verification["equal_to_the_bit"])


def test_the_manifest_says_how_near_the_float_graphs_are_to_the_model(bundle):
    verification = bundle.manifest.precisions["float32"].verification
    assert 0 < verification["largest_logprob_difference"] < 1e-3
    equal, of = verification["greedy_tokens_equal"].split(" of ")
    assert 0 < int(equal) <= int(of)


@needs_int8
def test_the_manifest_says_what_int8_costs(bundle):
    by_float, by_int8 = (bundle.manifest.precisions[p].verification for p in ("float32", "int8"))
    cost = by_int8["nats_per_token"] - by_float["nats_per_token"]
    assert by_int8["cost_in_nats_per_token"] == pytest.approx(cost, abs=2e-5)
    assert cost < 0.001


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", INPUTS)
def test_the_graphs_take_and_give_what_the_contract_and_the_manifest_say(bundle, precision, kind):
    session = open_session(bundle, precision, kind, "cpu", threads=1).session
    variant = bundle.manifest.precisions[precision]
    described = variant.graphs[kind]
    state = [(spec.name, spec.output, spec.dtype) for spec in variant.state]
    inputs = [(name, dtype) for name, _, dtype in state]
    outputs = [(name, dtype) for _, name, dtype in state]
    for specs, tensors, listed, kept in (
        (INPUTS[kind], session.get_inputs(), described.inputs, inputs),
        (OUTPUTS[kind], session.get_outputs(), described.outputs, outputs),
    ):
        assert [t.name for t in tensors] == [t.name for t in listed]
        assert [(t.name, t.dtype) for t in listed] == [*((s.name, s.dtype) for s in specs), *kept]
        by_name = {t.name: t for t in listed}
        for spec in specs:
            sizes = {"V": bundle.vocabulary.size, "A": 20}
            assert by_name[spec.name].shape == [sizes.get(dim, dim) for dim in spec.dims]


@pytest.mark.parametrize("private", [str(ROOT), str(Path.home()), "site-packages", "/tmp/"])
def test_no_file_tells_of_the_machine_it_was_made_on(bundle, private, run_dir, text_file):
    for name in names(bundle.path):
        data = (bundle.path / name).read_bytes()
        for words in (private, str(run_dir), str(text_file.parent)):
            assert words.encode() not in data, name


def test_a_second_export_is_the_same_bundle(run_dir, bundle, tmp_path):
    """Given by its own name, over an older bundle."""
    out = shutil.copytree(bundle.path, tmp_path / "again")
    (out / "stray").touch()
    export(find_checkpoint(run_dir), out=out, name="other", version="2", license="mine", overwrite=True)
    again = Bundle.open(out)
    assert names(tmp_path) == ["again"]
    files = {VOCABULARY, *files_of("float32")}
    assert set(names(out)) == {MANIFEST, *files}
    assert again.manifest.files == {name: bundle.manifest.files[name] for name in files}
    assert again.manifest.precisions["float32"] == bundle.manifest.precisions["float32"]
    assert (again.manifest.name, again.manifest.version, again.manifest.license) == ("other", "2", "mine")


@pytest.mark.usefixtures("graphs_of_the_best")
def test_the_graphs_of_another_checkpoint_leave_no_bundle(other_checkpoint, tmp_path):
    with pytest.raises(VerificationError, match="no bundle was written"):
        export(other_checkpoint, out=tmp_path / "b")
    assert names(tmp_path) == []


@pytest.mark.usefixtures("graphs_of_the_best")
def test_a_failed_export_keeps_the_bundle_that_was_there(other_checkpoint, bundle_dir, tmp_path):
    out = shutil.copytree(bundle_dir, tmp_path / "b")
    with pytest.raises(VerificationError):
        export(other_checkpoint, out=out, overwrite=True)
    assert Bundle.open(out).digest == Bundle.open(bundle_dir).digest
    assert names(tmp_path) == ["b"]


def test_an_existing_target_is_refused_before_any_work(run_dir, bundle_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "build_graphs", lambda *_: pytest.fail("it began to build"))
    out = shutil.copytree(bundle_dir, tmp_path / "b")
    with pytest.raises(BundleError, match="already exists"):
        export(run_dir, out=out)
    assert Bundle.open(out).digest == Bundle.open(bundle_dir).digest


def test_an_unusable_name_is_refused_before_any_work(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "build_graphs", lambda *_: pytest.fail("it began to build"))
    with pytest.raises(Exception, match="my model"):
        export(run_dir, out=tmp_path / "my model")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_of_records_is_verified_on_whole_records(record_bundle_dir, record_run_dir, precision):
    """The figure of the graphs is that of the model itself, each record read from its labels to its end."""
    bundle, source = Bundle.open(record_bundle_dir), load_checkpoint(record_run_dir)
    vocabulary = bundle.vocabulary
    assert vocabulary == source.vocabulary
    assert None not in (vocabulary.end, vocabulary.unknown)
    assert [column.name for column in vocabulary.ids.special.labels] == ["kind"]
    verification = bundle.manifest.precisions[precision].verification
    ends = int((source.held_out == vocabulary.end).sum())
    labels = int((source.held_out > vocabulary.start).sum())
    assert ends == labels > 20
    assert verification["tokens_scored"] == len(source.held_out) - labels, "ends count, labels do not"
    # All of the validation part is kept, so this is what training measured.
    logged = source.summary["validation_loss"]
    assert verification["nats_per_token"] == pytest.approx(
        logged, abs=2e-5 if precision == "float32" else 5e-3
    )
    bits = source.summary["validation_bits_per_character"]
    assert verification["bits_per_character"] == pytest.approx(bits, abs=2e-2)
    assert {"batch size", "reading", "thread count"} <= set(verification["equal_to_the_bit"])


@needs_int8
def test_a_bundle_of_int8_alone(run_dir, tmp_path):
    export(run_dir, out=tmp_path / "b", precision=("int8", "int8"))
    bundle = Bundle.open(tmp_path / "b")
    assert list(bundle.manifest.precisions) == ["int8"]
    assert names(bundle.path) == sorted([MANIFEST, VOCABULARY, *files_of("int8")])
    model = LocalModel(bundle.path, RunnerConfig(precision="auto"))
    assert model.model.executor.precision == "int8"
    assert len(model.generate("The ", max_tokens=9, seed=1)[0]) == 9


@needs_int8
@pytest.mark.usefixtures("worse_int8")
def test_int8_that_costs_too_much_leaves_no_bundle(run_dir, tmp_path):
    with pytest.raises(VerificationError, match=r"int8 costs .* above 0\.005; .*--max-cost"):
        export(run_dir, out=tmp_path / "b", precision=("float32", "int8"))
    assert names(tmp_path) == []


@needs_int8
@pytest.mark.usefixtures("worse_int8")
def test_a_higher_cost_can_be_allowed(run_dir, tmp_path):
    export(run_dir, out=tmp_path / "b", precision=("int8",), max_cost=5)
    verification = Bundle.open(tmp_path / "b").manifest.precisions["int8"].verification
    assert verification["cost_in_nats_per_token"] > 0.005


def test_int8_is_refused_where_it_cannot_be_verified(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(main, "multiplies_bytes", lambda: False)
    monkeypatch.setattr(checkpoint_module, "load_checkpoint", lambda _: pytest.fail("it began to work"))
    with pytest.raises(ConfigError, match=r"precision.*int8.*VNNI"):
        export(run_dir, out=tmp_path / "b", precision=("float32", "int8"))
    assert names(tmp_path) == []


def test_a_cost_below_nothing_is_refused(run_dir, tmp_path):
    with pytest.raises(ConfigError, match="max_cost"):
        export(run_dir, out=tmp_path / "b", max_cost=-0.1)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere"):
        export(tmp_path / "nowhere", out=tmp_path / "b")
    assert names(tmp_path) == []


def checkpoint(text, **sizes) -> Checkpoint:
    """A model of random weights for the characters of a text."""
    vocabulary = CharacterVocabulary.of_text(text)
    torch.manual_seed(0)
    config = RecurrentConfig(**sizes)
    weights = RecurrentModel(config, vocabulary.inputs, vocabulary.size).state_dict()
    return Checkpoint("test", config, vocabulary, weights, {}, {}, vocabulary.encode(text))


def test_a_vocabulary_of_one_character(tmp_path):
    source = checkpoint("aaa", cell="gru", layers=1, cells=3, embedding=2)
    with BundleWriter(tmp_path / "b") as writer:
        bundle = Exporter(source, max_cost=0.0).export(writer, ["float32"], "a")
    assert bundle.vocabulary.characters == ["a"]
    assert bundle.manifest.precisions["float32"].verification["nats_per_token"] == 0
    assert LocalModel(bundle.path).generate("aa", max_tokens=5, seed=1, top_p=0.5, top_k=3) == ["aaaaa"]


def test_a_text_of_many_alphabets(bundle):
    """The bundle that all tests share was trained on some."""
    assert {"ж", "色", "🎉", "\u200d", "é"} <= set(bundle.vocabulary.characters)
    model = LocalModel(bundle.path)
    (text,) = model.generate("色は匂へど 🎉", max_tokens=50, seed=1, temperature=1.5)
    assert len(text) == 50
    assert set(text) <= set(bundle.vocabulary.characters)


def test_the_graphs_of_a_bundle_are_small_and_its_weights_there_once(bundle):
    graphs = [bundle.graph(precision, kind) for precision in PRECISIONS for kind in INPUTS]
    assert sum(map(len, graphs)) < 2 * 2**20
    for precision in PRECISIONS:
        assert all(len(graph) < 10 * len(bundle.weights(precision)) for graph in graphs)
        tensors = load(bundle.weights(precision))
        assert sum(array.nbytes for array in tensors.values()) > 0.9 * len(bundle.weights(precision))


def test_a_bundle_in_memory_generates_what_the_one_on_disk_does(run_dir, bundle):
    built = build_bundle(run_dir, PRECISIONS)
    for precision in PRECISIONS:
        for kind in INPUTS:
            assert built.graph(precision, kind) == bundle.graph(precision, kind)
        assert built.weights(precision) == bundle.weights(precision)
    assert built.vocabulary == bundle.vocabulary
    assert built.manifest.training == bundle.manifest.training
