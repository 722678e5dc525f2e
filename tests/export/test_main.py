"""The export command, from checkpoint to bundle."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import charloom
from charloom.bundle import GRAPHS, MANIFEST, Bundle, BundleError, BundleWriter
from charloom.burst import INPUTS, OUTPUTS
from charloom.vocabulary import CharacterVocabulary
from export import main as module
from export.main import build, export, held_out
from export.verify import VerificationError
from serving.local import LocalModel
from training.checkpoint import Checkpoint, CheckpointError, find_checkpoint, load_checkpoint
from training.model import ModelConfig, RecurrentModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(bundle_dir):
    return Bundle.open(bundle_dir)


@pytest.fixture
def traced_before(bundle, monkeypatch):
    """Tracing gives the graphs of the bundle at once, for tests of what comes after."""
    kinds = {burst: kind for kind, burst in module.BURSTS.items()}
    monkeypatch.setattr(module, "trace", lambda burst, *_: bundle.graph(kinds[type(burst)]))


@pytest.fixture
def other_checkpoint(run_dir):
    """A checkpoint of the run that is not its best."""
    best = find_checkpoint(run_dir)
    others = [path.parent for path in run_dir.rglob("checkpoint.json") if path.parent != best]
    assert others, "the run kept its best checkpoint alone"
    return min(others)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_stands_for_its_best_checkpoint(run_dir, bundle):
    best = load_checkpoint(run_dir / "best")
    summary = json.loads(json.dumps(best.summary))
    assert bundle.manifest.training == summary
    assert bundle.vocabulary == best.vocabulary


def test_the_manifest_describes_the_bundle(bundle, run_dir):
    manifest, source = bundle.manifest, load_checkpoint(run_dir)
    assert (manifest.format, manifest.name, manifest.version) == (1, bundle.path.name, "1")
    assert manifest.precision == "float32"
    assert manifest.created_by == f"charloom {charloom.__version__}"
    assert names(bundle.path) == sorted([MANIFEST, *manifest.files])
    architecture = manifest.architecture
    config = source.config
    assert (architecture.cell, architecture.layers, architecture.cells) == (
        config.cell,
        config.layers,
        config.cells,
    )
    assert architecture.embedding == config.embedding == 16
    assert architecture.parameters == sum(tensor.numel() for tensor in source.weights.values())
    assert [spec.name for spec in manifest.state_specs] == ["h_0", "c_0", "h_1", "c_1"]
    assert all(tensor.shape == ["B", 48] and tensor.dtype == "float32" for tensor in manifest.state)


def test_the_manifest_says_what_was_verified(bundle):
    verification = bundle.manifest.verification
    assert verification["characters_scored"] == 2000
    assert 0 < verification["largest_logprob_difference"] < 1e-3
    assert verification["padding"] == bundle.manifest.padding
    assert verification["execution_class"].endswith(f"/pad{bundle.manifest.padding}")
    equal, of = verification["greedy_tokens_equal"].split(" of ")
    assert 0 < int(equal) <= int(of)


@pytest.mark.parametrize("kind", GRAPHS)
def test_the_graphs_take_and_give_what_the_contract_and_the_manifest_say(bundle, kind):
    session = onnxruntime.InferenceSession(bundle.graph(kind), providers=["CPUExecutionProvider"])
    described = bundle.manifest.graphs[kind]
    for specs, tensors, listed in (
        (INPUTS[kind], session.get_inputs(), described.inputs),
        (OUTPUTS[kind], session.get_outputs(), described.outputs),
    ):
        state = [spec.name for spec in bundle.manifest.state_specs]
        if specs is OUTPUTS[kind]:
            state = [f"{name}_out" for name in state]
        assert [t.name for t in tensors] == [t.name for t in listed] == [*(s.name for s in specs), *state]
        by_name = {t.name: t for t in listed}
        for spec in specs:
            assert by_name[spec.name].dtype == spec.dtype
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
    assert names(out) == names(bundle.path)
    assert names(tmp_path) == ["again"]
    assert again.manifest.files == bundle.manifest.files
    assert (again.manifest.name, again.manifest.version, again.manifest.license) == ("other", "2", "mine")


@pytest.mark.usefixtures("traced_before")
def test_the_graphs_of_another_checkpoint_leave_no_bundle(other_checkpoint, tmp_path):
    with pytest.raises(VerificationError, match="no bundle was written"):
        export(other_checkpoint, out=tmp_path / "b")
    assert names(tmp_path) == []


@pytest.mark.usefixtures("traced_before")
def test_a_failed_export_keeps_the_bundle_that_was_there(other_checkpoint, bundle_dir, tmp_path):
    out = shutil.copytree(bundle_dir, tmp_path / "b")
    with pytest.raises(VerificationError):
        export(other_checkpoint, out=out, overwrite=True)
    assert Bundle.open(out).digest == Bundle.open(bundle_dir).digest
    assert names(tmp_path) == ["b"]


def test_an_existing_target_is_refused_before_any_work(run_dir, bundle_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "trace", lambda *_: pytest.fail("it began to trace"))
    out = shutil.copytree(bundle_dir, tmp_path / "b")
    with pytest.raises(BundleError, match="already exists"):
        export(run_dir, out=out)
    assert Bundle.open(out).digest == Bundle.open(bundle_dir).digest


def test_an_unusable_name_is_refused_before_any_work(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "trace", lambda *_: pytest.fail("it began to trace"))
    with pytest.raises(Exception, match="my model"):
        export(run_dir, out=tmp_path / "my model")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere"):
        export(tmp_path / "nowhere", out=tmp_path / "b")
    assert names(tmp_path) == []


def checkpoint(text, **sizes) -> Checkpoint:
    """A model of random weights for the characters of a text."""
    vocabulary = CharacterVocabulary.of_text(text)
    torch.manual_seed(0)
    config = ModelConfig(**sizes)
    weights = RecurrentModel(config, vocabulary.inputs, vocabulary.size).state_dict()
    return Checkpoint("test", config, vocabulary, weights, {}, {}, text)


def test_a_vocabulary_of_one_character(tmp_path):
    with BundleWriter(tmp_path / "b") as writer:
        bundle, outcome = build(
            checkpoint("aaa", cell="gru", layers=1, cells=3, embedding=2), writer, "a", "1", ""
        )
    assert bundle.vocabulary.characters == ["a"]
    assert outcome.nats_per_character == 0
    assert LocalModel(bundle.path).generate("aa", max_tokens=5, seed=1, top_p=0.5, top_k=3) == ["aaaaa"]


def test_a_text_of_many_alphabets(bundle):
    """The bundle that all tests share was trained on some."""
    assert {"ж", "色", "🎉", "\u200d", "é"} <= set(bundle.vocabulary.characters)
    model = LocalModel(bundle.path)
    (text,) = model.generate("色は匂へど 🎉", max_tokens=50, seed=1, temperature=1.5)
    assert len(text) == 50
    assert set(text) <= set(bundle.vocabulary.characters)


@pytest.mark.parametrize(("text", "tokens"), [("cab", [2, 0, 1]), ("c?b", [2, 1]), ("", [0, 1, 2])])
def test_held_out_text_is_that_of_the_checkpoint_else_every_token_once(text, tokens):
    """Characters that only the held-out text has are left out."""
    source = replace(checkpoint("abc", cells=1), held_out=text)
    np.testing.assert_array_equal(held_out(source), tokens)
