"""`charloom evaluate`: a checkpoint and its bundle give one figure, which is the one that training logged."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.local import LocalModel
from tests.conftest import Finished, needs_int8
from training.checkpoint import load_checkpoint

Figures = Callable[..., dict[str, Any]]


def read(result: Finished) -> dict[str, Any]:
    """The figures that the command gave."""
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.fixture
def figures(in_process: Callable[..., Finished]) -> Figures:
    """Runs `charloom evaluate --json`."""
    return lambda *arguments: read(in_process("evaluate", *arguments, "--json"))


@pytest.fixture
def refusal(in_process: Callable[..., Finished]) -> Callable[..., str]:
    """Runs `charloom evaluate`, which must refuse; gives its words."""

    def run(*arguments: object, code: int = 2) -> str:
        result = in_process("evaluate", *arguments)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        return result.stderr

    return run


@pytest.mark.parametrize("lanes", [0, 1])
def test_a_checkpoint_and_its_bundle_agree(
    figures: Figures, run_dir: Path, bundle_dir: Path, text_file: Path, tmp_path: Path, lanes: int
) -> None:
    text = text_file
    if lanes:  # a token at a time takes long
        text = tmp_path / "end.txt"
        text.write_text(text_file.read_text("utf-8")[-5000:], "utf-8")
    one = figures(run_dir, text, "--lanes", lanes)
    other = figures(bundle_dir, text, "--lanes", lanes, "--precision", "float32")
    assert one["nats_per_token"] == pytest.approx(other["nats_per_token"], abs=1e-4)
    for name in ("characters", "tokens", "lanes", "method", "trained_on", "part"):
        assert one[name] == other[name]
    assert one["characters"] == len(text.read_text("utf-8"))
    assert one["lanes"] == (lanes or one["characters"] // 2048)
    assert (one["kind"], one["precision"], other["kind"]) == ("checkpoint", "float32", "bundle")


@needs_int8
def test_int8_costs_next_to_nothing(figures: Figures, bundle_dir: Path, text_file: Path) -> None:
    by_float, by_int8 = (
        figures(bundle_dir, text_file, "--precision", precision)["nats_per_token"]
        for precision in ("float32", "int8")
    )
    assert by_int8 != by_float
    assert by_int8 == pytest.approx(by_float, abs=5e-3)


def test_the_validation_part_gives_what_training_logged(
    figures: Figures, in_process: Callable[..., Finished], run_dir: Path, bundle_dir: Path, text_file: Path
) -> None:
    logged = load_checkpoint(run_dir).summary["validation_loss"]
    for model, precision in ((run_dir, "auto"), (bundle_dir, "float32")):
        found = figures(model, text_file, "--part", "validation", "--precision", precision)
        assert found["nats_per_token"] == pytest.approx(logged, abs=1e-5)
        assert found["part"] == "validation"
        assert not found["trained_on"]
    said = in_process("evaluate", run_dir, text_file, "--part", "validation").stdout
    assert re.search(rf"^nats/token +{logged:.4f}$", said, re.MULTILINE)


def test_one_lane_is_what_score_says_and_many_differ_little(
    figures: Figures, local: LocalModel, bundle_dir: Path, text_file: Path, tmp_path: Path
) -> None:
    text = text_file.read_text("utf-8")[-6500:]
    (tmp_path / "end.txt").write_text(text, "utf-8")
    stream = figures(bundle_dir, tmp_path / "end.txt", "--lanes", 1)
    assert stream["nats"] == pytest.approx(local.score([text])[0].nats, rel=1e-5)
    lanes = figures(bundle_dir, tmp_path / "end.txt")
    assert (stream["lanes"], lanes["lanes"]) == (1, 3)
    assert lanes["nats_per_token"] == pytest.approx(stream["nats_per_token"], abs=0.01)


def test_texts_are_read_as_training_reads_them(
    figures: Figures, run_dir: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "unix.txt").write_bytes(b"The class\nis executed.\n" * 20)
    (tmp_path / "dos.txt").write_bytes(b"\xef\xbb\xbf" + b"The class\r\nis executed.\r\n" * 20)
    for model in (run_dir, bundle_dir):
        unix, dos = (figures(model, tmp_path / name) for name in ("unix.txt", "dos.txt"))
        assert (unix["nats"], unix["characters"]) == (dos["nats"], dos["characters"])


def test_what_cannot_be_measured_is_named(
    figures: Figures,
    refusal: Callable[..., str],
    run_dir: Path,
    bundle_dir: Path,
    text_file: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "odd.txt").write_text("a☃b", "utf-8")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for model, other in ((run_dir, "int8"), (bundle_dir, "bfloat16")):
        assert "'☃' (U+2603) at 1; --skip-unknown" in refusal(model, tmp_path / "odd.txt")
        assert figures(model, tmp_path / "odd.txt", "--skip-unknown")["skipped"] == 1
        assert "not the text" in refusal(model, tmp_path / "odd.txt", "--part", "test")
        assert "test part" in refusal(model, text_file, "--part", "test")
        assert "precision" in refusal(model, text_file, "--precision", other)
        assert "empty.txt" in refusal(model, tmp_path / "empty.txt", code=4)
        assert "latin.txt" in refusal(model, tmp_path / "latin.txt", code=6)
        assert "none.txt" in refusal(model, tmp_path / "none.txt", code=3)
    assert "neither a checkpoint nor a bundle" in refusal(tmp_path / "nothing", text_file)
    assert "no checkpoint" in refusal(tmp_path, text_file, code=9)
