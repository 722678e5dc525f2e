"""The benchmark of beginnings: it measures, whatever the figures are."""

from pathlib import Path

import pytest

from benchmarks.beginnings import Edges, Lines, main

WORDS = "as the loom goes to and fro\n\nthread by thread the pattern grows\n"


def test_a_text_begins_rightly_with_the_first_word_of_any_line() -> None:
    lines = Lines.of(WORDS)
    assert lines.lines == ["as the loom goes to and fro", "thread by thread the pattern grows"]
    assert [lines.begun(text) for text in ("thread", "\nas it", "th", "loom goes", "", " \n")] == [
        *[True] * 2,
        *[False] * 4,
    ]


def test_a_record_is_whole_with_the_first_and_last_characters_of_any() -> None:
    edges = Edges.of(["ababa", "zebra"])
    records = ["ababa", "abaxbra", "zeb", "ab", "", "xababa", "zebrax"]
    assert [edges.whole(record) for record in records] == [True, True, False, False, False, False, False]


@pytest.mark.slow
def test_whole_records_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text"
    text.write_text("".join(f"as the {number} looms go\n" for number in range(80)))
    options = "--records lines --texts 40 --seeds 3 --cells 8 --batch 2 --epochs 2 --precision float32"
    monkeypatch.setattr("sys.argv", ["beginnings", str(text), *options.split()])
    main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {6}
    assert all(0 <= float(cell) <= 1 for cell in rows[2][2:5])


@pytest.mark.slow
def test_a_row_for_each_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text"
    text.write_text(WORDS * 20)
    options = "--texts 40 --seeds 3 --cells 8 --batch 2 --length 8 --epochs 0.1 --precision float32"
    monkeypatch.setattr("sys.argv", ["beginnings", str(text), *options.split()])
    main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    assert {len(row) for row in rows} == {6}
    assert all(0 <= float(cell) <= 1 for cell in rows[2][2:5])
