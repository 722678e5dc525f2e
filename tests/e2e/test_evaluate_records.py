"""`charloom evaluate` on records: a checkpoint and its bundle give one figure, whichever part is measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from charloom.evaluation_lanes import CHUNK
from charloom.records.division import part_of
from tests.conftest import Finished, needs_int8
from training.checkpoint import load_checkpoint

PARTS = ("training", "validation", "test")
FRACTIONS = (0.7, 0.2)


@pytest.fixture
def figures(in_process: Callable[..., Finished]) -> Callable[..., dict[str, Any]]:
    """Runs `charloom evaluate --json`."""

    def read(*arguments: object) -> dict[str, Any]:
        result = in_process("evaluate", *arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return read


def texts_of(file: Path, part: str) -> list[str]:
    """The texts of a table that are in a part."""
    rows = file.read_text("utf-8").splitlines()[1:]
    texts = [row.rsplit(",", 1)[0] for row in rows]
    return [text for text in texts if part in ("whole", PARTS[part_of(text, *FRACTIONS)])]


@pytest.mark.parametrize("part", ["whole", *PARTS])
def test_a_checkpoint_and_its_bundle_agree_on_every_part(
    part: str,
    figures: Callable[..., dict[str, Any]],
    record_run_dir: Path,
    record_bundle_dir: Path,
    record_file: Path,
) -> None:
    one, other = (
        figures(model, record_file, "--part", part, "--precision", "float32")
        for model in (record_run_dir, record_bundle_dir)
    )
    assert one["nats_per_token"] == pytest.approx(other["nats_per_token"], abs=1e-5)
    texts = texts_of(record_file, part)
    for found in (one, other):
        assert found["characters"] == sum(map(len, texts))
        assert found["tokens"] == found["characters"] + len(texts), "ends are tokens"
        assert (found["part"], found["skipped"], found["lanes"]) == (part, 0, 0)
        assert "each record by itself" in found["method"]
        assert found["bits_per_character"] == pytest.approx(
            found["nats"] / found["characters"] / 0.693147, 1e-5
        )
    if part == "validation":
        logged = load_checkpoint(record_run_dir).summary["validation_loss"]
        assert one["nats_per_token"] == pytest.approx(logged, abs=1e-5)


def test_a_file_that_has_grown_keeps_its_parts(
    figures: Callable[..., dict[str, Any]], record_run_dir: Path, record_file: Path, tmp_path: Path
) -> None:
    grown = tmp_path / "grown.csv"
    head, *rows = record_file.read_text("utf-8").splitlines()
    grown.write_text("\n".join([head, *rows[::-1], *(f"pp {i},p" for i in range(200, 260))]), "utf-8")
    for part in PARTS:
        found = figures(record_run_dir, grown, "--part", part)
        assert found["characters"] == sum(map(len, texts_of(grown, part)))
        assert found["trained_on"] is (part == "training")


def test_a_record_longer_than_a_chunk_is_read_on_where_that_ended(
    figures: Callable[..., dict[str, Any]], record_run_dir: Path, record_bundle_dir: Path, tmp_path: Path
) -> None:
    text = "".join(f"ppp {i} " for i in range(90))
    (tmp_path / "a.csv").write_text(f"text,kind\n{text},p\n")
    checkpoint = load_checkpoint(record_run_dir)
    vocabulary, model = checkpoint.vocabulary, checkpoint.model()
    tokens = [*vocabulary.encode(text).tolist(), vocabulary.end]
    fed = torch.tensor([*vocabulary.ids.label_ids(["p"]), vocabulary.start, *tokens[:-1]])[:, None]
    with torch.no_grad():
        scores, _ = model(fed, model.initial_state(1))
    nats = F.cross_entropy(scores[1:, 0], torch.tensor(tokens), reduction="sum").item()
    for path in (record_run_dir, record_bundle_dir):
        found = figures(path, tmp_path / "a.csv", "--precision", "float32")
        assert found["tokens"] == len(tokens) > 2 * CHUNK
        assert found["nats"] == pytest.approx(nats, rel=1e-5)


@needs_int8
def test_int8_costs_next_to_nothing(
    figures: Callable[..., dict[str, Any]], record_bundle_dir: Path, record_file: Path
) -> None:
    by_float, by_int8 = (
        figures(record_bundle_dir, record_file, "--precision", precision)["nats_per_token"]
        for precision in ("float32", "int8")
    )
    assert by_int8 != by_float
    assert by_int8 == pytest.approx(by_float, abs=5e-3)


def test_a_record_is_measured_under_its_labels(
    figures: Callable[..., dict[str, Any]], record_run_dir: Path, record_bundle_dir: Path, tmp_path: Path
) -> None:
    for model in (record_run_dir, record_bundle_dir):
        nats = []
        for kind in "pq":
            (tmp_path / "a.csv").write_text(f"text,kind\nppp 12,{kind}\n")
            nats.append(figures(model, tmp_path / "a.csv")["nats"])
        assert nats[0] < nats[1]


def test_what_cannot_be_measured_is_named(
    in_process: Callable[..., Finished], record_run_dir: Path, record_bundle_dir: Path, tmp_path: Path
) -> None:
    for name, text, said in (
        ("label.csv", "text,kind\npp,x\n", "kind 'x' is none that the model knows: 'p', 'q'"),
        ("column.csv", "text\npp\n", "no column 'kind'"),
        ("plain.txt", "pp\n", "is no table"),
        ("empty.csv", "text,kind\n", "has no records"),
    ):
        (tmp_path / name).write_text(text)
        for model in (record_run_dir, record_bundle_dir):
            result = in_process("evaluate", model, tmp_path / name)
            assert result.returncode not in (0, 1)
            assert said in result.stderr
            assert "Traceback" not in result.stderr
    (tmp_path / "one.csv").write_text("text,kind\npp,p\n")
    missing = next(part for part in PARTS if PARTS[part_of("pp", *FRACTIONS)] != part)
    result = in_process("evaluate", record_run_dir, tmp_path / "one.csv", "--part", missing)
    assert f"the {missing} part of" in result.stderr
