"""The benchmark of reading texts: it measures, whatever the figures are."""

import pytest

from benchmarks.corpus import TEXTS, main


def test_a_row_for_each_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["corpus", "--megabytes", "0.5", "--rounds", "1"])
    main()
    said = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in said.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(TEXTS)
    for row in rows[2:]:
        assert all(int(cell.replace(",", "")) >= 0 for cell in row[1:])
