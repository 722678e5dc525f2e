"""Reads rows of Parquet files, a batch at a time, with pyarrow, which only they need."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from charloom.errors import how_to_install
from charloom.records.columns import check_names
from charloom.records.record import RecordError
from charloom.text_file import Changes, opened

ROWS = 1024
"""Rows read at a time."""


def parquet_rows(
    path: Path,
    name: str,
    columns: Sequence[str],
    changes: Changes,  # noqa: ARG001  # the bytes of a table have no line ends to change
) -> Iterator[tuple[int, tuple[object, ...]]]:
    """The values of some columns in each row, with its number, from 1.

    Raises:
        CharloomError: the file cannot be read or is no Parquet, lacks a column, or pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise RecordError(f"{name} needs the package pyarrow: {how_to_install('parquet')}") from error
    first = 1
    with opened(path) as stream:
        try:
            # Without a buffer ahead, which would keep what was read until the end.
            file = ParquetFile(stream, pre_buffer=False)
            check_names(columns, "column", file.schema_arrow.names, name)
            for batch in file.iter_batches(ROWS, columns=list(columns)):
                values = (batch.column(column).to_pylist() for column in columns)
                yield from enumerate(zip(*values, strict=True), first)
                first += batch.num_rows
        except (ArrowException, OSError, ValueError) as error:
            raise RecordError(f"{name} cannot be read as Parquet: {error}") from error
