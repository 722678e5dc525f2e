"""The options of records: what ends one in plain text, or which columns of a table hold it and its labels."""

import difflib
import re
from dataclasses import dataclass

from charloom.errors import ConfigError, require

NAMED = {"none": None, "lines": "\n", "paragraphs": "\n\n"}
"""What `--records` may say but for a delimiter, and what is then between two records."""
ESCAPES = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\", "r": "\r"}


@dataclass(frozen=True)
class RecordsConfig:
    """How texts are divided into records."""

    records: str = "none"
    """What ends a record in plain text: the end of its line (lines), a blank line (paragraphs), or a
    delimiter of your own, such as '<|endoftext|>' or '\\n---\\n', with \\n, \\t, \\0 and \\\\ in it; none
    reads one continuous text."""
    text_column: str = ""
    """Column or field that holds the text, in tables: .csv and .tsv with a header, .jsonl or .ndjson,
    .parquet; each row is a record."""
    label_column: tuple[str, ...] = ()
    """Columns or fields whose values label a record, in tables."""

    def __post_init__(self) -> None:
        require(self.records != "", "records", "is empty: it may be none, lines, paragraphs, or a delimiter")
        check_name(self.records)
        require("\r" not in self.delimiter, "records", "has a \\r, and every line end is read as \\n")
        columns = (self.text_column, *self.label_column)
        require(
            self.text_column != "" or not self.label_column,
            "label_column",
            "needs text_column, the column of the table that holds the text; plain text has no labels",
        )
        require("" not in self.label_column, "label_column", "is empty, and names no column")
        require(len(set(columns)) == len(columns), "label_column", "names a column twice, or the text's own")
        require(
            self.records == "none" or not self.text_column,
            "records",
            "must be none where text_column reads tables: there each row is a record",
        )

    @property
    def divides(self) -> bool:
        """Whether texts are read as records; else they are one continuous text."""
        return self.tables or self.records != "none"

    @property
    def tables(self) -> bool:
        """Whether records are rows of tables."""
        return self.text_column != ""

    @property
    def delimiter(self) -> str:
        """What ends a record in plain text, where that is a delimiter of the user's; else nothing.

        Raises:
            ConfigError: it has an escape that means nothing.
        """
        return "" if self.records in NAMED else re.sub(r"(?s)\\(.?)", unescaped, self.records)

    @property
    def between(self) -> str | None:
        """What is between two records of plain text and part of none; None in tables and continuous texts."""
        return self.delimiter or NAMED[self.records]


def check_name(word: str) -> None:
    """Raises ConfigError for a delimiter that is rather a name misspelt."""
    if word not in NAMED and (meant := difflib.get_close_matches(word.lower(), NAMED, n=1, cutoff=0.75)):
        raise ConfigError("records", f"must be none, lines, paragraphs or a delimiter: is {meant[0]} meant?")


def unescaped(found: re.Match[str]) -> str:
    """What an escape stands for; raises ConfigError for an unknown one."""
    require(
        found[1] in ESCAPES,
        "records",
        f"has {found[0]!s}, which is none of the escapes \\n, \\t, \\0 and \\\\",
    )
    return ESCAPES[found[1]]
