"""Parquet as part files: a folder `out.parquet` of files that every reader of Parquet takes for one table."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from charloom.errors import CharloomError, how_to_install
from charloom.files import PARTIAL, open_atomic
from serving.offline.formats import COLUMN

ROWS = 2**17
"""Rows of each part; of the last one fewer."""


class PartsError(CharloomError):
    """Parquet cannot be written."""

    exit_code = 2


def check_parquet() -> None:
    """Raises PartsError if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401  # what writes the parts
    except ImportError as error:
        reason = f"a .parquet needs the package pyarrow: {how_to_install('parquet')}"
        raise PartsError(reason) from error


def write_parts(spool: Path, folder: Path) -> None:
    """Writes records from JSON lines as parts; those that are there already are whole, and are left alone.

    Raises:
        OSError: they cannot be written.
    """
    import pyarrow as pa
    from pyarrow.parquet import write_table

    folder.mkdir(exist_ok=True)
    for unfinished in folder.glob(f"{PARTIAL}*"):
        unfinished.unlink()
    with spool.open("rb") as stream:
        for number, texts in enumerate(blocks(stream)):
            part = folder / f"part-{number:05}.parquet"
            if not part.exists():
                with open_atomic(part) as file:
                    write_table(pa.table({COLUMN: pa.array(texts, pa.string())}), file, compression="zstd")


def blocks(lines: BinaryIO) -> Iterator[list[str]]:
    """The texts of JSON lines, as many at a time as a part has; one part without any if there are none."""
    decoder = msgspec.json.Decoder(dict[str, str])
    first = True
    while (some := [decoder.decode(line)[COLUMN] for line in islice(lines, ROWS)]) or first:
        yield some
        first = False
