"""Runs: the first attempts that pass, whatever comes between."""

import csv
import errno
import json
import os
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import ConfigError
from charloom.files import PARTIAL
from charloom.novelty import NoveltyFilter
from charloom.records.record_hash import record_hash
from serving.errors import ServingError
from serving.offline.attempt import Attempt
from serving.offline.config import CountConfig
from serving.offline.folder import JobFolder, JobFolderError, JobProgress, read_progress
from serving.offline.index import ROW
from serving.offline.job import JobMismatchError
from serving.offline.run import TooFewError, first_seed
from tests.serving.offline.conftest import Make, WordSource, content, make_run


def expected(source: WordSource, count: int, *, unique: bool, match: str = "(?s).*") -> list[str]:
    """The result by its definition."""
    found: list[str] = []
    seen: set[str] = set()
    number = 0
    while len(found) < count:
        attempt = source.attempt(number)
        number += 1
        passes = attempt.ended and attempt.text and re.fullmatch(match, attempt.text)
        if passes and not (unique and attempt.text in seen):
            seen.add(attempt.text)
            found.append(attempt.text)
    return found


@given(st.integers(1, 150), st.booleans(), st.sampled_from([None, "[^a]*", "(?s).{2,}"]), st.integers(0, 99))
def test_the_first_attempts_that_pass_are_written_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, unique: bool, match: str | None, seed: int
) -> None:
    source = WordSource(seed=seed)
    output = tmp_path_factory.mktemp("run") / "out.jsonl"
    make_run(source, output, count=count, unique=unique, match=match).run()
    lines = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert lines == expected(source, count, unique=unique, match=match or "(?s).*")
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


def test_formats_hold_the_same_records(tmp_path: Path) -> None:
    wanted = expected(WordSource(letters='ab,"'), 200, unique=True)
    for suffix in ("jsonl", "csv"):
        make_run(WordSource(letters='ab,"'), tmp_path / f"out.{suffix}", count=200, unique=True).run()
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"text": text} for text in wanted]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["text"], *([text] for text in wanted)]


def test_a_record_with_the_separator_is_none_in_plain_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(WordSource(), tmp_path / "out.txt", count=50).run()
    lines = (tmp_path / "out.txt").read_text().split("\n")
    assert lines[-1] == ""
    assert len(lines) == 51
    assert all(lines[:-1])
    assert "with the separator" in capsys.readouterr().err


def test_parquet_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pip install '.[parquet]'")
    from pyarrow.parquet import read_table

    monkeypatch.setattr("serving.offline.parts.ROWS", 64)
    make_run(WordSource(), tmp_path / "out.parquet", count=150, unique=True).run()
    parts = sorted((tmp_path / "out.parquet").iterdir())
    assert [part.name for part in parts] == [f"part-{i:05}.parquet" for i in range(3)]
    assert [len(read_table(part)) for part in parts] == [64, 64, 22]
    wanted = expected(WordSource(), 150, unique=True)
    assert read_table(tmp_path / "out.parquet").column("text").to_pylist() == wanted


@pytest.mark.parametrize("name", ["out.jsonl", "out.txt", "out.csv", "out.parquet"])
def test_a_run_that_dies_goes_on(
    tmp_path: Path, undisturbed: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pip install '.[parquet]'")
        monkeypatch.setattr("serving.offline.parts.ROWS", 64)
    wanted = undisturbed(name, unique=True, count=200)
    output = tmp_path / name
    for dies_after in (1, 40, 90, 17):
        with pytest.raises(RuntimeError, match="died"):
            make_run(WordSource(dies_after=dies_after), output, unique=True, count=200).run()
        assert not output.exists()
    make_run(WordSource(), output, unique=True, count=200).run()
    assert content(output) == wanted
    assert [path.name for path in tmp_path.iterdir() if path.name != "undisturbed"] == [name]


def test_no_attempt_that_counts_is_made_twice(tmp_path: Path) -> None:
    sources = [WordSource(dies_after=60), WordSource()]
    with pytest.raises(RuntimeError, match="died"):
        make_run(sources[0], tmp_path / "out.jsonl", count=200).run()
    make_run(sources[1], tmp_path / "out.jsonl", count=200).run()
    again = set(sources[0].made) & set(sources[1].made)
    assert len(again) < 60 / 2


def test_what_did_not_count_is_cut_off(tmp_path: Path, undisturbed: Make) -> None:
    with pytest.raises(RuntimeError, match="died"):
        make_run(WordSource(dies_after=60), tmp_path / "out.jsonl", unique=True).run()
    for name in ("records", "index"):
        with (tmp_path / f"{PARTIAL}out.jsonl" / name).open("ab") as file:
            file.write(b"half a rec")
    make_run(WordSource(), tmp_path / "out.jsonl", unique=True).run()
    assert content(tmp_path / "out.jsonl") == undisturbed(unique=True)


@pytest.mark.parametrize("bad", range(0, 30, 3))
def test_a_full_disk_ends_a_run_that_goes_on_later(
    tmp_path: Path, undisturbed: Make, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """Wherever something is synced: the data of a file is written then, at the latest."""
    wanted = undisturbed(unique=True)
    left = [bad]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            make_run(WordSource(), tmp_path / "out.jsonl", unique=True).run()
    assert not (tmp_path / "out.jsonl").exists()
    make_run(WordSource(), tmp_path / "out.jsonl", unique=True).run()
    assert content(tmp_path / "out.jsonl") == wanted


def test_records_of_the_training_text_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = expected(WordSource(), 200, unique=True)
    novelty = NoveltyFilter.sized(100)
    novelty.add([record_hash("x" + text) for text in first[::2]])
    source = WordSource(novelty=novelty)
    make_run(source, tmp_path / "out.jsonl", prompt="x", count=100, unique=True, novel=True).run()
    lines = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == first[1::2][:100]
    assert re.search(r" [1-9]\d* copied", capsys.readouterr().err)


def test_without_a_filter_nothing_can_be_novel(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="novel needs a filter"):
        make_run(WordSource(), tmp_path / "out.jsonl", novel=True)


def test_the_tally_ends_with_the_last_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for dies_after in (None, 50):
        source = WordSource(dies_after=dies_after)
        output = tmp_path / f"{dies_after}.jsonl"
        if dies_after:
            with pytest.raises(RuntimeError, match="died"):
                make_run(source, output, unique=True).run()
        make_run(WordSource(), output, unique=True).run()
        (line,) = (one for one in capsys.readouterr().err.splitlines() if " attempts: " in one)
        said.append(line)
    assert said[0] == said[1]
    numbers = [int(number) for number in re.findall(r"\d+", said[0])]
    delivered, made, invalid, unended, empty, double, copied = numbers
    assert (delivered, invalid, copied) == (100, unended + empty, 0)
    assert made == delivered + invalid + double
    source = WordSource()
    assert source.attempt(made - 1).text == expected(source, 100, unique=True)[-1]


def test_attempts_are_bounded_and_what_there_is_is_written(tmp_path: Path) -> None:
    source = WordSource(letters="ab", longest=2)
    with pytest.raises(TooFewError, match=r"all 2,000 attempts gave 12 of 100 records") as raised:
        make_run(source, tmp_path / "out.jsonl", unique=True, max_attempts=2000).run()
    assert raised.value.exit_code == 17
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 12
    assert max(source.made) == 1999


def test_without_an_end_full_length_is_one(tmp_path: Path) -> None:
    source = WordSource(can_end=False)
    make_run(source, tmp_path / "out.jsonl").run()
    lines = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == [text for text in (source.attempt(i).text for i in range(200)) if text][:100]


def test_an_output_that_is_there_is_replaced_only_if_told_so(tmp_path: Path, undisturbed: Make) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    with pytest.raises(JobFolderError, match="exists already"):
        make_run(WordSource(), output).run()
    assert output.read_text() == "mine"
    make_run(WordSource(), output, overwrite=True).run()
    assert content(output) == undisturbed()
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(JobFolderError, match="neither a file nor"):
        make_run(WordSource(), tmp_path / "folder.jsonl", overwrite=True).run()


@pytest.mark.parametrize(
    ("source", "config", "named"),
    [
        ({"seed": 1}, {}, "seed"),
        ({"model": "sha256:1"}, {}, "model"),
        ({"execution_class": "another"}, {}, "execution-class"),
        ({}, {"unique": True}, "unique"),
        ({}, {"match": "[a-d]+"}, "match"),
        ({}, {"count": 101}, "count"),
    ],
)
def test_other_options_do_not_go_on(
    tmp_path: Path, undisturbed: Make, source: dict[str, Any], config: dict[str, Any], named: str
) -> None:
    output = tmp_path / "out.jsonl"
    with pytest.raises(RuntimeError, match="died"):
        make_run(WordSource(dies_after=30), output).run()
    with pytest.raises(JobMismatchError, match=f"another {named}: ") as raised:
        make_run(WordSource(**source), output, **config).run()
    assert raised.value.exit_code == 14
    make_run(WordSource(**source), output, overwrite=True, **config).run()
    if "match" not in config:
        assert content(output) == undisturbed(source=WordSource(**source), **config)


def test_the_batch_is_no_option_of_the_job(tmp_path: Path, undisturbed: Make) -> None:
    with pytest.raises(RuntimeError, match="died"):
        make_run(WordSource(dies_after=30), tmp_path / "out.jsonl", max_batch=3).run()
    make_run(WordSource(), tmp_path / "out.jsonl", max_batch=7).run()
    assert content(tmp_path / "out.jsonl") == undisturbed()


def test_a_seed_that_was_drawn_is_that_of_who_goes_on(tmp_path: Path) -> None:
    output, config = tmp_path / "out.jsonl", CountConfig(count=5)
    seed = first_seed(None, output, config)
    assert first_seed(None, output, config) != seed
    with pytest.raises(RuntimeError, match="died"):
        make_run(WordSource(dies_after=30, seed=seed), output).run()
    assert first_seed(None, output, config) == seed
    with pytest.raises(ConfigError, match="seed is needed by shards"):
        first_seed(None, output, CountConfig(count=5, shard="0/2"))


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="died"):
        make_run(WordSource(dies_after=30), tmp_path / "out.jsonl").run()
    run = make_run(WordSource(), tmp_path / "out.jsonl")
    with JobFolder(run.path, JobProgress(run.job)) as other:
        other.lock()
        before = sorted(run.path.iterdir())
        for one in (run, make_run(WordSource(seed=1), tmp_path / "out.jsonl", overwrite=True)):
            with pytest.raises(JobFolderError, match="another process"):
                one.run()
        assert sorted(run.path.iterdir()) == before


def test_who_finds_a_new_folder_locked_leaves_it_as_it_is(tmp_path: Path) -> None:
    run = make_run(WordSource(), tmp_path / "out.jsonl")
    with JobFolder(run.path, JobProgress(run.job)) as other:
        other.lock()
        for _ in range(2):
            with pytest.raises(JobFolderError, match="another process"):
                run.run()
    assert not run.path.exists()


@pytest.mark.parametrize("damage", ["records", "index", "progress.json", "gone"])
def test_a_damaged_folder_is_refused_and_begun_anew_with_overwrite(tmp_path: Path, damage: str) -> None:
    output = tmp_path / "out.jsonl"
    with pytest.raises(RuntimeError, match="died"):
        make_run(WordSource(dies_after=60), output, count=400).run()
    folder = make_run(WordSource(), output, count=400).path
    progress = read_progress(folder)
    assert progress is not None
    progress.records, progress.bytes = 3, 30
    (folder / "progress.json").write_bytes(msgspec.json.encode(progress))
    (folder / "records").write_bytes(b"x" * 30)
    (folder / "index").write_bytes(bytes(3 * ROW.itemsize))
    if damage == "gone":
        (folder / "records").unlink()
    else:
        (folder / damage).write_bytes(b"x")
    with pytest.raises(JobFolderError):
        make_run(WordSource(), output, count=400).run()
    make_run(WordSource(), output, count=400, overwrite=True).run()
    make_run(WordSource(), tmp_path / "whole.jsonl", count=400).run()
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not folder.exists()


def test_what_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(JobFolderError, match="exists already"):
        make_run(WordSource(), tmp_path / "out.jsonl").run()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_what_a_source_made_before_it_failed_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(WordSource):
        def attempts(self, numbers: range) -> Generator[Sequence[Attempt], None, None]:
            yield [self.attempt(number) for number in range(2000)]
            raise ServingError("the server is gone")

    with pytest.raises(ServingError):
        make_run(Failing(), tmp_path / "out.jsonl", count=5000).run()
    assert "the same command goes on from here" in capsys.readouterr().err
    progress = read_progress(tmp_path / ".partial-out.jsonl")
    assert progress is not None
    assert progress.attempts == 2000


def test_a_shard_goes_no_further_than_all_attempts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="min_attempts must be at most 500"):
        make_run(WordSource(), tmp_path / "o.jsonl", count=5, shard="0/2", min_attempts=501)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"unique": True}, "unique needs --count"),
        ({"shard": "0/2"}, "shard needs --count"),
        ({"count": 5, "shard": "8/8"}, "shard must be INDEX/COUNT"),
        ({"count": 5, "shard": "three"}, "shard must be INDEX/COUNT"),
        ({"count": 5, "match": "("}, "match is no regular expression"),
        ({"count": 5, "max_attempts": 4}, r"max_attempts must be at least count \(5\), not 4"),
        ({"count": 5, "min_attempts": 4}, "min_attempts is for a shard"),
        ({"count": 0}, "count must be 1 to"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        CountConfig(**options)


def test_parts_replace_parts(tmp_path: Path, undisturbed: Make) -> None:
    pytest.importorskip("pyarrow", reason="pip install '.[parquet]'")
    output = tmp_path / "out.parquet"
    make_run(WordSource(seed=1), output).run()
    make_run(WordSource(), output, overwrite=True).run()
    assert content(output) == undisturbed("out.parquet")
    assert not list(tmp_path.glob(f"{PARTIAL}*"))
