"""`charloom generate --count` and `charloom merge` as a user of a shell meets them."""

import csv
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serving.local import LocalModel
from tests.conftest import Finished

Run = Callable[..., Finished]
COMMON = ("--label", "p", "--seed", 5, "--device", "cpu", "--precision", "float32")


@pytest.fixture
def count(in_process: Run, record_bundle_dir: Path) -> Run:
    """Runs `charloom generate --count` over a bundle of records."""
    return partial(in_process, "generate", "--bundle", record_bundle_dir, *COMMON, "--count")


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_are_the_texts_of_their_seeds(count: Run, record_bundle_dir: Path, tmp_path: Path) -> None:
    for batch in (1, 64):
        result = count(40, "--output", tmp_path / f"{batch}.jsonl", "--max-batch", batch, "--unique")
        assert result.returncode == 0, result.stderr
        assert re.search(r"40 records of \d+ attempts: \d+ invalid.*, \d+ double, 0 copied", result.stderr)
        assert re.search(r"tokens of records; \d+\.\d% of the tokens computed were wasted", result.stderr)
        assert result.stdout == ""
    options = {"max_tokens": 256, "seed": 5, "labels": ("p",), "n": 400}
    generated = LocalModel(record_bundle_dir).generate(**options)
    wanted = list(dict.fromkeys(filter(None, generated)))[:40]
    assert texts(tmp_path / "1.jsonl") == texts(tmp_path / "64.jsonl") == wanted


def test_a_server_makes_the_same_bytes_also_where_it_lets_few_run(
    count: Run, in_process: Run, serve: Callable[..., Any], record_bundle_dir: Path, tmp_path: Path
) -> None:
    options = ("--unique", "--shard", "1/2", "--max-tokens", 30)
    assert count(60, "--output", tmp_path / "local.jsonl", *options).returncode == 0
    for name, limit in (("wide", 256), ("narrow", 3)):
        device = ("--device", "cpu", "--precision", "float32")
        server = serve(*device, "--max-parallel", str(limit), bundle=record_bundle_dir)
        command = ("generate", "--address", server.address, "--label", "p", "--seed", 5, "--count", 60)
        result = in_process(*command, "--output", tmp_path / f"{name}.jsonl", *options)
        assert result.returncode == 0, result.stderr
        made, wanted = ((tmp_path / f"{job}.jsonl.shard-1-of-2" / "records") for job in (name, "local"))
        assert made.read_bytes() == wanted.read_bytes() != b""


def test_shards_are_merged(count: Run, in_process: Run, tmp_path: Path) -> None:
    options = ("--unique", "--match", r".*\d.*")
    assert count(30, "--output", tmp_path / "whole.csv", *options).returncode == 0
    for index in range(3):
        result = count(30, "--output", tmp_path / "out.csv", *options, "--shard", f"{index}/3")
        assert result.returncode == 0, result.stderr
    folders = sorted(tmp_path.glob("out.csv.shard-*-of-3"))
    merged = ("merge", *folders, "--output", tmp_path / "out.csv")
    lacking = in_process("merge", *folders[1:], "--output", tmp_path / "out.csv")
    assert lacking.returncode == 2
    assert "lack 0/3" in lacking.stderr
    result = in_process(*merged)
    while result.returncode == 17:
        shards = re.findall(r"\d/3", result.stderr)
        least = re.findall(r"--min-attempts (\d+)", result.stderr)[0]
        for shard in shards:
            more = ("--shard", shard, "--min-attempts", least)
            assert count(30, "--output", tmp_path / "out.csv", *options, *more).returncode == 0
        result = in_process(*merged)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = [row["text"] for row in csv.DictReader(file)]
    assert len(set(rows)) == 30
    assert all(re.fullmatch(r".*\d.*", row) for row in rows)
    assert in_process(*merged).returncode == 11


def test_copies_of_the_training_text_are_left_out(
    in_process: Run, record_run_dir: Path, record_file: Path, tmp_path: Path
) -> None:
    exported = in_process("export", record_run_dir, "--out", tmp_path / "b", "--novelty", record_file)
    assert exported.returncode == 0, exported.stderr
    options = ("--bundle", tmp_path / "b", *COMMON, "--temperature", 0.5)
    result = in_process("generate", *options, "--count", 50, "--novel", "--output", tmp_path / "new.jsonl")
    assert result.returncode == 0, result.stderr
    assert re.search(r" \d+ copied", result.stderr)
    with record_file.open(newline="", encoding="utf-8") as file:
        known = {row["text"] for row in csv.DictReader(file)}
    assert known.isdisjoint(texts(tmp_path / "new.jsonl"))


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ((5,), 2, "--output is needed with --count"),
        ((5, "--output", "out.doc"), 2, "--output must end with .jsonl, .txt, .csv or .parquet"),
        ((5, "--output", "out.jsonl", "-n", 2), 2, "--count excludes --n and --json"),
        ((5, "--output", "out.jsonl", "--novel"), 2, "--novel needs a filter of the training text"),
        ((5, "--output", "out.jsonl", "--shard", "8/8"), 2, "--shard must be INDEX/COUNT"),
        ((5, "--output", "out.jsonl", "--match", "("), 2, "--match is no regular expression"),
        ((5, "--output", "out.jsonl", "--max-attempts", 2), 2, "--max-attempts must be at least count"),
        ((5, "--output", "out.jsonl", "--max-tokens", 0), 2, "--max-tokens must be at least 1"),
        ((9, "--output", "out.jsonl", "--match", "~", "--max-attempts", 50), 17, "gave 0 of 9 records"),
    ],
)
def test_what_cannot_be_done_is_said(
    count: Run, tmp_path: Path, options: tuple[object, ...], code: int, reason: str
) -> None:
    result = count(*options, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert reason in result.stderr


def test_options_of_a_count_need_one(in_process: Run, record_bundle_dir: Path) -> None:
    result = in_process("generate", "--bundle", record_bundle_dir, *COMMON, "--unique")
    assert result.returncode == 2
    assert "--unique needs --count" in result.stderr


def test_a_disk_that_is_full_is_said(count: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.offline.folder.JobFolder.commit", full)
    result = count(5, "--output", tmp_path / "out.jsonl")
    assert result.returncode == 1
    assert "the same command goes on from here\n" in result.stderr
    assert result.stderr.endswith("No space left on device\n")
    monkeypatch.undo()
    assert count(5, "--output", tmp_path / "out.jsonl").returncode == 0


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")
