"""The novelty filter of a bundle is that of the text that the model was trained on, and of no other."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from charloom.bundle import Bundle
from charloom.manifest import BundleError
from charloom.records.record_hash import record_hash
from charloom.texts import Texts
from charloom.tokens_config import TokensConfig
from charloom.vocabulary import vocabulary_builder
from export.training_filter import TrainingFilter, normal_form
from tests.conftest import Finished
from training.checkpoint import load_checkpoint

Run = Callable[..., Finished]


def test_an_export_stores_the_records_of_the_training_text(
    in_process: Run, record_run_dir: Path, record_file: Path, tmp_path: Path
) -> None:
    result = in_process("export", record_run_dir, "--out", tmp_path / "new", "--novelty", record_file)
    assert result.returncode == 0, result.stderr
    assert "novelty filter: 300 records in" in result.stderr
    bundle = Bundle.open(tmp_path / "new")
    about, novelty = bundle.manifest.novelty, bundle.novelty
    assert about is not None
    assert novelty is not None
    assert about.records == 300
    assert about.false_positive_rate == novelty.false_positive_rate < 2e-4
    with record_file.open(newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert novelty.holds([record_hash(text) for text in texts]).all()
    assert not novelty.holds([record_hash(f"{text}!") for text in texts]).any()
    (tmp_path / "new" / about.file).write_bytes(bytes(len(novelty.bits)))
    with pytest.raises(BundleError, match="was altered"):
        Bundle.open(tmp_path / "new")


def test_a_filter_that_the_manifest_does_not_list_is_refused(
    record_bundle_dir: Path, record_run_dir: Path, record_file: Path, tmp_path: Path
) -> None:
    source = load_checkpoint(record_run_dir)
    about = TrainingFilter.of(Texts((record_file,)), source.summary["text"], source.vocabulary).about
    for path in record_bundle_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    fields = ("file", "hash", "records", "probes", "false_positive_rate")
    manifest["novelty"] = {name: getattr(about, name) for name in fields}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"does not list novelty\.bloom"):
        Bundle.open(tmp_path)


def test_another_text_is_refused(
    in_process: Run, record_run_dir: Path, record_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(record_file.read_text(encoding="utf-8") + "one more,p\n", encoding="utf-8")
    result = in_process("export", record_run_dir, "--out", tmp_path / "new", "--novelty", other)
    assert result.returncode == 2
    assert "--novelty is not the text that the model was trained on" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_continuous_text_has_no_records(
    in_process: Run, run_dir: Path, text_file: Path, tmp_path: Path
) -> None:
    result = in_process("export", run_dir, "--out", tmp_path / "new", "--novelty", text_file)
    assert result.returncode == 2
    assert "--novelty is for models of records" in result.stderr


def test_a_record_is_hashed_as_the_model_would_write_it() -> None:
    builder = vocabulary_builder(TokensConfig("lower-words", vocabulary_size=3))
    builder.put("Alpha Beta. " * 3 + "Rare")
    vocabulary = builder.build()
    assert normal_form("Alpha  Beta.", vocabulary) == "alpha beta."
    assert normal_form("Alpha  Rare.", vocabulary) == "Alpha  Rare."
