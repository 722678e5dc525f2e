"""What reading records changes in their text, and leaves out."""

from dataclasses import dataclass

from charloom.text_file import Changes


@dataclass
class RecordChanges(Changes):
    """What reading changes in a text, and which records it skips."""

    empty: int = 0
    """Records without a character, which it skipped."""
    null: int = 0
    """Rows whose text is null, which it skipped."""
    delimiter: str = ""
    """What it looked for between records, if that was a delimiter of the user's."""
    delimiters: int = 0
    """How often it found that."""

    def notes(self) -> tuple[str, ...]:
        """The changes in words."""
        skipped = [
            f"{count:,} {one if count == 1 else many}"
            for count, one, many in (
                (self.empty, "empty record", "empty records"),
                (self.null, "whose text is null", "whose text is null"),
            )
            if count
        ]
        notes = [f"skipped {' and '.join(skipped)}"] if skipped else []
        if self.delimiter and not self.delimiters:
            notes.append(f"found the delimiter {self.delimiter!r} nowhere: each file is one record")
        return (*super().notes(), *notes)
