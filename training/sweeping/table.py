"""The table of a sweep: a row for each trial, in the terminal or as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence

from training.reporting.reporter import clock
from training.sweeping.outcome import Row, ranked
from training.sweeping.space import Value

MAX_ROWS = 20
"""Rows in the terminal."""


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The best trials as aligned text, with their values of the options `names`."""
    head = ["trial", "outcome", "loss", "epochs", "time", "parameters", *names]
    lines = [head, *([cell.strip() for cell in cells(row, names)] for row in ranked(rows)[:MAX_ROWS])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    if len(rows) > MAX_ROWS:
        text.append(f"and {len(rows) - MAX_ROWS} more")
    return "\n".join(text)


def cells(row: Row, names: Sequence[str]) -> list[str]:
    """The cells of one row, for people."""
    outcome = row.outcome
    loss = "-" if outcome.loss is None else f"{outcome.loss:.4f}"
    ran = outcome.parameters > 0
    return [
        f"{row.place:03}",
        outcome.kind,
        loss,
        f"{outcome.epoch:.2f}" if ran else "-",
        clock(outcome.seconds) if ran else "-",
        f"{outcome.parameters:,}" if ran else "-",
        *(shown(row.values[name]) if name in row.values else "-" for name in names),
    ]


def shown(value: Value) -> str:
    """A value, in four digits if it is a float."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def values_line(values: Mapping[str, Value]) -> str:
    """Values by name, in one line."""
    return "  ".join(f"{name}={shown(value)}" for name, value in values.items())


def csv_table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """All trials in their order as CSV, with every digit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [
        "trial",
        "outcome",
        "validation_loss",
        "epochs",
        "seconds",
        "parameters",
        *names,
        "machine",
        "note",
    ]
    writer.writerow(head)
    for row in rows:
        outcome = row.outcome
        writer.writerow(
            [
                row.name,
                outcome.kind,
                "" if outcome.loss is None else outcome.loss,
                outcome.epoch,
                round(outcome.seconds, 3),
                outcome.parameters,
                *(row.values.get(name, "") for name in names),
                row.machine,
                outcome.note,
            ]
        )
    return out.getvalue()
