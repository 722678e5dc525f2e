"""The benchmark of beginnings: it measures, whatever the figures are."""

from pathlib import Path

import pytest

from benchmarks.beginnings import Lines, main

WORDS = "as the loom goes to and fro\n\nthread by thread the pattern grows\n"


def test_a_text_begins_rightly_with_the_first_word_of_any_line() -> None:
    lines = Lines.of(WORDS)
    assert lines.lines == ["as the loom goes to and fro", "thread by thread the pattern grows"]
    assert [lines.begun(text) for text in ("thread", "\nas it", "th", "loom goes", "", " \n")] == [
        *[True] * 2,
        *[False] * 4,
    ]


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
