"""Records: texts that begin and end, read from lines, paragraphs, delimited texts and tables."""

from charloom.records.changes import RecordChanges
from charloom.records.config import RecordsConfig
from charloom.records.hint import records_hint
from charloom.records.reader import check_kinds, read_records
from charloom.records.record import Record, RecordError

__all__ = [
    "Record",
    "RecordChanges",
    "RecordError",
    "RecordsConfig",
    "check_kinds",
    "read_records",
    "records_hint",
]
