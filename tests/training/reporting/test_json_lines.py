"""Records: what survives of a file when a run is taken up again."""

import json

import pytest

from training.checkpoint import SaveError
from training.reporting import json_lines
from training.reporting.json_lines import JsonLines


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def written(path, steps, through=-1):
    made = JsonLines(path)
    made.open(through)
    for step in steps:
        made.add({"step": step, "loss": 1 / (step + 1)})
    made.close()
    return made


def steps(path):
    return [json.loads(line)["step"] for line in path.read_bytes().splitlines()]


def test_each_record_is_in_the_file_at_once(path):
    records = JsonLines(path)
    records.open(-1)
    for step in (0, 5, 7):
        records.add({"step": step, "text": "a\nb\u2028é"})
        assert steps(path)[-1] == step
    assert [one["step"] for one in records.kept] == [0, 5, 7]
    assert len(path.read_bytes().splitlines()) == 3
    records.close()


def test_of_very_many_a_part_is_in_memory_and_all_in_the_file(path, monkeypatch):
    monkeypatch.setattr(json_lines, "MOST", 10)
    kept = written(path, range(1000)).kept
    again = written(path, [1000], 999).kept
    assert steps(path) == list(range(1001))
    for part in (kept, again):
        numbers = [one["step"] for one in part]
        assert 5 <= len(numbers) <= 10
        assert numbers == sorted(set(numbers))
        assert numbers[0] == 0
    assert (kept[-1]["step"], again[-1]["step"]) == (999, 1000)


@pytest.mark.parametrize(
    ("through", "kept"), [(-1, []), (0, [0]), (9, [0, 5]), (10, [0, 5, 10]), (99, [0, 5, 10])]
)
def test_what_comes_after_a_step_is_dropped(path, through, kept):
    written(path, [0, 5, 10])
    again = written(path, [100], through)
    assert steps(path) == [*kept, 100]
    assert [one["step"] for one in again.kept] == [*kept, 100]


@pytest.mark.parametrize(
    "end",
    [
        b'{"step": 7, "lo',
        b'{"step": 7}',
        b"\x00\xff\n",
        b"[]\n",
        b"7\n",
        b'{"step": 5}\n',
        b'{"loss": 1}\n',
        b"\n",
    ],
)
def test_what_a_kill_has_cut_is_dropped(path, end):
    written(path, [0, 5])
    path.write_bytes(path.read_bytes() + end)
    written(path, [6], 50)
    assert steps(path) == [0, 5, 6]


def test_a_folder_that_is_not_there_or_in_the_way_is_named(tmp_path):
    for path in (tmp_path / "none" / "metrics.jsonl", tmp_path):
        with pytest.raises(SaveError, match=str(path)):
            JsonLines(path).open(-1)


def test_no_number_that_json_has_not(path):
    records = JsonLines(path)
    records.open(-1)
    with pytest.raises(ValueError, match="JSON"):
        records.add({"step": 1, "loss": float("nan")})
    records.close()
    assert path.read_bytes() == b""
