"""Prints an outcome: figures as a table in Markdown, and the demands that were not met."""

from collections.abc import Iterable, Sequence

from benchmarks.table import print_row


def print_outcome(figures: Iterable[tuple[str, str]], failures: Sequence[str]) -> None:
    """Prints figures with their names, and the failures."""
    print_row("what", "how many")
    print_row("---", "---")
    for what, value in figures:
        print_row(what, value)
    for failure in failures:
        print(f"FAILED: {failure}")
    if not failures:
        print("all demands met")
