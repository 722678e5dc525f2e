"""Tables of medians as Markdown: one row for each number of streams, one column for each figure.

It knows nothing of what was measured.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
Column = Callable[[Sequence[T]], str]
"""From what was measured in each round to what the table says."""


def print_table(columns: Mapping[str, Column[T]], rows: Mapping[int, Sequence[T]]) -> None:
    """Prints a table."""
    print_row("streams", *columns)
    print_row(*["---"] * (1 + len(columns)))
    for streams, rounds in rows.items():
        print_row(f"{streams:,}", *(column(rounds) for column in columns.values()))


def print_row(*cells: str) -> None:
    """Prints one line of a table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def median(of: Callable[[T], float], form: str = ",.0f") -> Column[T]:
    """The median of the rounds."""
    return lambda rounds: format(statistics.median(map(of, rounds)), form)


def times(of: Callable[[T], Sequence[float]]) -> Column[T]:
    """Percentiles 50 and 99 of times, in milliseconds, each the median of the rounds that have some."""

    def say(rounds: Sequence[T]) -> str:
        measured = [sorted(seconds) for seconds in map(of, rounds) if seconds]
        if not measured:
            return "-"
        middle, late = (statistics.median(percentile(s, share) for s in measured) for share in (0.5, 0.99))
        return f"{middle * 1e3:.0f} / {late * 1e3:.0f}"

    return say


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that a share of the others does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
