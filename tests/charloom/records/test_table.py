"""Tables written by others come back as records, and what is wrong in one is named with its line."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom import text_file
from charloom.records import Record, RecordChanges, RecordError, RecordsConfig, check_kinds, read_records
from charloom.text_file import EncodingError, UnreadableTextError
from charloom.texts import Texts

CELLS = st.text("a,;\t\"'\n\r é\u2028", max_size=6)
TABLES = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, *labels: str, text: str = "text") -> tuple[list[Record], tuple[str, ...]]:
    changes = RecordChanges()
    config = RecordsConfig(text_column=text, label_column=labels)
    return list(read_records(Texts((path,)), config, changes)), changes.notes()


def plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(rows=TABLES, dialect=st.sampled_from(["excel", "excel-tab", "unix"]), piece=st.integers(1, 9))
@in_one_folder
def test_what_the_csv_module_writes_comes_back(
    rows: list[tuple[str, str, str]], dialect: str, piece: int, tmp_path: Path
) -> None:
    path = tmp_path / ("a.TSV" if dialect == "excel-tab" else "a.csv")
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, dialect)
        writer.writerow(("kind", "text", "mood"))
        writer.writerows((kind, f"x{text}", mood) for kind, text, mood in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "PIECE", piece)
        records, _ = read(path, "mood", "kind")
    assert records == [Record(plain(f"x{text}"), (plain(mood), plain(kind))) for kind, text, mood in rows]


@given(rows=TABLES, ascii_only=st.booleans())
@in_one_folder
def test_what_the_json_module_writes_comes_back(
    rows: list[tuple[str, str, str]], ascii_only: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(
            json.dumps({"text": f"x{text}", "kind": kind, "other": [other]}, ensure_ascii=ascii_only) + "\n"
            for text, kind, other in rows
        ),
        encoding="utf-8",
    )
    assert read(path, "kind")[0] == [Record(plain(f"x{text}"), (plain(kind),)) for text, kind, _ in rows]


def test_a_table_is_read_as_text_files_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf text , kind\r\n\r\n"one\r\ntwo",a\r\n,b\r\nthree,\r\n')
    records, notes = read(path, "kind")
    assert records == [Record("one\ntwo", ("a",)), Record("three", ("",))]
    assert notes == (
        "dropped the byte order mark at its beginning",
        "made 6 line ends \\n that were \\r\\n",
        "skipped 1 empty record",
    )
    path.write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(EncodingError, match=r"a.csv is not UTF-8: byte 0xe9 at byte 8, line 2"):
        read(path)


def test_numbers_are_text_and_null_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text(
        '{"text": 1.50e3, "kind": true}\n\n{"text": null, "kind": "a"}\n{"text": NaN, "kind": 2}\n'
        '{"text": "b\\r\\nc", "kind": null}\n{"text": "", "kind": 12345678901234567890123}\n'
    )
    records, notes = read(path, "kind")
    assert records == [Record("1.50e3", ("true",)), Record("b\nc", ("",))]
    assert notes == (
        "made 1 line end \\n that was \\r\\n",
        "skipped 1 empty record and 2 whose text is null",
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "a.csv, line 1: there is no header, which names the columns"),
        ("a.csv", "\n\n", "a.csv, line 1: there is no header"),
        ("a.csv", "id,body\n1,x\n", "line 1, the header: it has id, body, but no column 'text'"),
        ("a.csv", "text\nx\n", "the header: it has text, but no column 'kind'"),
        ("a.csv", "text,kind,text\n", "it has 2 times the column 'text'"),
        ("a.csv", "\n" + "x" * 50 + ",b\n", f"line 2, the header: it has {'x' * 40}..., b, but no"),
        ("a.csv", "text,kind\n\"a\nb\",c\nd\n", "a.csv, line 4: 1 fields, where the header has 2"),
        ("a.csv", "text,kind\na,b,c\n", "a.csv, line 2: 3 fields, where the header has 2"),
        ("a.csv", 'text,kind\na,b\n"c,d\ne,f\n', "line 3: a quotation mark begins a field that never ends"),
        ("a.tsv", 'text\tkind\n"a" b\tc\n', "a.tsv, line 2: .* expected after .*each further one is doubled"),
        ("a.jsonl", '{"text": "a"}\n', "line 1: it has text, but no field 'kind'"),
        ("a.jsonl", '\n{"kind": "a"}\n', "line 2: it has kind, but no field 'text'"),
        ("a.jsonl", "{}\n", "line 1: it has nothing, but no field 'text'"),
        ("a.jsonl", '{"text": "a",\n"kind": "b"}\n', "line 1: no JSON, .* at character .*each line must be"),
        ("a.jsonl", '["a"]\n', "a.jsonl, line 1: the JSON is no object"),
        ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: the JSON is nested too deeply"),
        ("a.jsonl", '{"text": ["a"], "kind": 1}\n', "line 1: where a text should be is a value of type list"),
        ("a.jsonl", '{"text": "\\ud800", "kind": 1}\n', "line 1: a text has half of a surrogate pair"),
        ("a.txt", "text,kind\n", "a.txt is no table, from which text_column could be read: .* .csv, .tsv"),
        ("a.parquet", "text,kind\n", "a.parquet cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(content)
    with pytest.raises(RecordError, match=re.escape(said).replace(r"\.\*", ".*")) as caught:
        read(tmp_path / name, "kind")
    assert caught.value.exit_code == 2


def test_all_files_are_looked_at_before_the_first_is_read(tmp_path: Path) -> None:
    for name in ("a.csv", "b.jsonl", "README"):
        (tmp_path / name).write_text('{"text": "b"}\n' if name == "b.jsonl" else "text\na\n")
    files = [tmp_path / name for name in ("a.csv", "b.jsonl", "README")]
    config = RecordsConfig(text_column="text")
    with pytest.raises(RecordError, match="README is no table"):
        next(read_records(Texts(tuple(files)), config, RecordChanges()))
    assert [r.text for r in read_records(Texts(tuple(files[:2])), config, RecordChanges())] == ["a", "b"]
    with pytest.raises(RecordError, match="standard input is no table"):
        next(read_records(Texts((files[2],), spooled=files[2]), config, RecordChanges()))
    with pytest.raises(RecordError, match=r"a.parquet is a table: text_column names the column"):
        check_kinds(Texts((tmp_path / "a.parquet",)), RecordsConfig())


def test_a_field_may_be_of_any_length_and_the_limit_of_others_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + ("x" * 200_000 + "\n") * 40)
    limit = csv.field_size_limit()
    for record in read_records(Texts((path,)), RecordsConfig(text_column="text"), RecordChanges()):
        assert len(record.text) == 200_000
        assert csv.field_size_limit() == limit
    path.write_text('text\n"')
    with pytest.raises(RecordError):
        read(path)
    assert csv.field_size_limit() == limit


def test_rows_of_parquet_are_records(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.Parquet"
    columns: dict[str, Any] = {
        "kind": arrow.array(["a", "b", None, "a", "a"]).dictionary_encode(),
        "number": [1, 2, 3, 4, 5],
        "text": ["one\r\ntwo", "", "three", None, "four"],
        "share": [0.5, None, float("nan"), 1, 1],
        "list": [["a"]] * 5,
    }
    parquet.write_table(arrow.table(columns), path, row_group_size=2)
    records, notes = read(path, "kind", "number")
    assert records == [Record("one\ntwo", ("a", "1")), Record("three", ("", "3")), Record("four", ("a", "5"))]
    assert notes[1:] == ("skipped 1 empty record and 1 whose text is null",)
    assert [record.text for record in read(path, text="share")[0]] == ["0.5", "1.0", "1.0"]
    with pytest.raises(RecordError, match="row 1: where a text should be is a value of type list"):
        read(path, text="list")
    with pytest.raises(RecordError, match="it has kind, number, text, share, list, but no column 'body'"):
        read(path, text="body")
    with pytest.raises(UnreadableTextError, match="cannot read the text"):
        read(tmp_path / "none.parquet")


def test_parquet_needs_its_extra_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecordError, match=r"a.parquet needs the package pyarrow: pip install"):
        read(tmp_path / "a.parquet")
