"""Shards, merged, are what one machine would have made."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.errors import ConfigError
from serving.offline.folder import JobFolderError
from serving.offline.job import JobMismatchError
from serving.offline.merge import Merge
from serving.offline.run import TooFewError
from tests.serving.offline.conftest import Make, WordSource, content, make_run


def make_shards(folder: Path, shards: int, suffix: str = "jsonl", **config: object) -> list[Path]:
    runs = [
        make_run(WordSource(), folder / f"out.{suffix}", shard=f"{index}/{shards}", **config)
        for index in range(shards)
    ]
    random.Random(1).shuffle(runs)
    for run in runs:
        run.run()
    return [run.path for run in runs]


@given(st.integers(1, 150), st.integers(2, 9), st.booleans(), st.sampled_from([1, 7, 2**16]))
@settings(max_examples=12)
def test_merged_shards_equal_one_run(
    tmp_path_factory: pytest.TempPathFactory, count: int, shards: int, unique: bool, window: int
) -> None:
    """However often they must go on: with many doubles between them they do."""
    folder = tmp_path_factory.mktemp("shards")
    options = {"count": count, "unique": unique}
    make_run(WordSource(longest=4), folder / "whole.jsonl", **options).run()
    again = list(range(shards))
    least = 0
    for _ in range(20):
        for index in again:
            config = {"shard": f"{index}/{shards}", "min_attempts": least}
            make_run(WordSource(longest=4), folder / "out.jsonl", **options, **config).run()
        found = [folder / f"out.jsonl.shard-{index}-of-{shards}" for index in range(shards)]
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("serving.offline.merge.WINDOW", window)
                Merge(found, folder / "merged.jsonl").run()
        except TooFewError as error:
            again = [int(word) for word in re.findall(r"(\d+)/\d+", str(error))]
            (least,) = map(int, re.findall(r"--min-attempts (\d+)", str(error)))
            assert not (folder / "merged.jsonl").exists()
        else:
            break
    assert content(folder / "merged.jsonl") == content(folder / "whole.jsonl")


@pytest.mark.parametrize("suffix", ["txt", "csv", "parquet"])
def test_every_format_is_merged(
    tmp_path: Path, undisturbed: Make, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="pip install '.[parquet]'")
        monkeypatch.setattr("serving.offline.parts.ROWS", 64)
    folders = make_shards(tmp_path, 3, suffix, count=150)
    Merge(folders, tmp_path / f"out.{suffix}").run()
    assert content(tmp_path / f"out.{suffix}") == undisturbed(f"out.{suffix}", count=150)


def test_a_shard_makes_its_own_attempts_alone_and_goes_on_after_it_died(
    tmp_path: Path, undisturbed: Make
) -> None:
    source = WordSource(dies_after=30)
    with pytest.raises(RuntimeError, match="died"):
        make_run(source, tmp_path / "out.jsonl", shard="1/2").run()
    assert source.made == [*range(1, 2 * len(source.made), 2)]
    folders = make_shards(tmp_path, 2)
    Merge(folders, tmp_path / "out.jsonl").run()
    assert content(tmp_path / "out.jsonl") == undisturbed()


def test_a_shard_that_is_done_makes_nothing_more(tmp_path: Path) -> None:
    (folder, _) = make_shards(tmp_path, 2)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    source = WordSource()
    index = folder.name.split("-")[1]
    make_run(source, tmp_path / "out.jsonl", shard=f"{index}/2").run()
    assert source.made == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(before) == [".lock", "index", "progress.json", "records"]


def test_shards_that_made_all_attempts_are_merged_to_what_there_is(tmp_path: Path) -> None:
    config = {"unique": True, "max_attempts": 120}
    folders = make_shards(tmp_path, 3, **config)
    with pytest.raises(TooFewError, match="all 120 attempts gave"):
        Merge(folders, tmp_path / "out.jsonl").run()
    with pytest.raises(TooFewError, match="all 120 attempts gave"):
        make_run(WordSource(), tmp_path / "whole.jsonl", **config).run()
    assert content(tmp_path / "out.jsonl") == content(tmp_path / "whole.jsonl")


def test_shards_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folders = make_shards(tmp_path, 3)
    output = tmp_path / "out.jsonl"
    with pytest.raises(ConfigError, match=r"shards lack \d/3$"):
        Merge(folders[:2], output)
    with pytest.raises(ConfigError, match="shards have one of them twice"):
        Merge([*folders, folders[0]], output)
    with pytest.raises(ConfigError, match="no folder that --shard made"):
        Merge([*folders, tmp_path], output)
    with pytest.raises(ConfigError, match=r"output must end with \.jsonl"):
        Merge(folders, tmp_path / "out.txt")
    (tmp_path / "other").mkdir()
    others = make_shards(tmp_path / "other", 3, match="[a-d]+")
    with pytest.raises(JobMismatchError, match="another match"):
        Merge([*folders[:2], others[2]], output)
    output.write_text("mine")
    with pytest.raises(JobFolderError, match="exists already"):
        Merge(folders, output).run()
    Merge(folders, output, overwrite=True).run()
    assert output.read_text() != "mine"


@pytest.mark.parametrize("name", ["records", "index"])
@pytest.mark.parametrize("missing", [False, True])
def test_a_shard_that_is_not_whole_is_refused_by_name(tmp_path: Path, name: str, *, missing: bool) -> None:
    folders = make_shards(tmp_path, 3)
    path = folders[1] / name
    path.unlink() if missing else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=re.escape(f"have {folders[1]}, whose records are not all there")):
        Merge(folders, tmp_path / "out.jsonl").run()
    assert not (tmp_path / "out.jsonl").exists()


def test_a_job_of_the_same_output_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="died"):
        make_run(WordSource(dies_after=30), tmp_path / "out.jsonl", count=90).run()
    before = {path: path.read_bytes() for path in (tmp_path / ".partial-out.jsonl").iterdir()}
    Merge(make_shards(tmp_path, 3), tmp_path / "out.jsonl").run()
    assert {path: path.read_bytes() for path in (tmp_path / ".partial-out.jsonl").iterdir()} == before
    assert not (tmp_path / ".partial-merge-out.jsonl").exists()
