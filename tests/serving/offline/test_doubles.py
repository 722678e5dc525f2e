"""The set of hashes on disk is a set."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.records.record_hash import record_hash
from serving.offline.doubles import Doubles


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=8))
def test_a_double_is_what_was_there_before(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[int]]
) -> None:
    seen: set[int] = set()
    with Doubles(tmp_path_factory.mktemp("doubles") / "file") as doubles:
        for block in blocks:
            found = doubles.add([record_hash(str(number)) for number in block])
            for number, double in zip(block, found, strict=True):
                assert double == (number in seen)
                seen.add(number)


def test_more_than_one_statement_holds_and_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"what a kill left")
    with Doubles(tmp_path / "file") as doubles:
        hashes = [record_hash(str(number)) for number in range(2000)]
        assert not any(doubles.add(hashes))
        assert all(doubles.add(hashes))
