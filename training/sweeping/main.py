"""The command `charloom sweep`: a text and what varies in, the best of many checkpoints out.

The same command goes on with a sweep, and joins one that runs.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from charloom.errors import require
from training.data.corpus import Corpus, read_corpus
from training.hardware import resolve
from training.main import fallbacks
from training.options import FLAT, Options
from training.presets import PresetName
from training.reporting.reporter import Reporter
from training.run import CHANGEABLE
from training.sweeping.outcome import Row, best_of
from training.sweeping.space import Space
from training.sweeping.study import StudyConfig, open_study
from training.sweeping.sweep import PLOT, TABLE, Sweep, SweepFolder
from training.sweeping.table import table

OWN = CHANGEABLE - {"epochs", "max_minutes", "patience"}
"""Options in which the processes of a sweep may differ: as resumed runs may, but for how long they take."""


def sweep(
    text: Path,
    /,
    *,
    out: Path,
    vary: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    trial_minutes: float = 0,
    preset: PresetName | None = None,  # noqa: ARG001 (fallbacks sees to it)
    init_from: Path | None = None,
    study: Annotated[StudyConfig, FLAT] = StudyConfig(),
    options: Annotated[Options, FLAT] = Options(),
) -> None:
    """Train again and again with other options, and keep the best model.

    Args:
        text: The text, UTF-8.
        out: Folder for the trials, the table, the plot and the best checkpoint. The same command goes
            on with a sweep that was stopped, and joins one that runs.
        vary: An option and its values: cells=128,256 or dropout=0..0.5 or learning-rate=1e-4..1e-2:log
            or cells=64..512:64. Once for each option that varies.
        trial_minutes: Minutes that a trial takes at most, as --max-minutes; 0: no limit.
        preset: Set of options in place of the defaults; those given explicitly still win.
        init_from: Checkpoint whose weights each trial starts from.
        study: How trials are chosen, and where they are kept.
        options: How to train, where nothing varies.
    """
    space = Space.parse(vary)
    require(trial_minutes >= 0, "trial-minutes", "must be at least 0")
    run = replace(options.run, max_minutes=trial_minutes) if trial_minutes else options.run
    options = replace(options, run=run, preview=replace(options.preview, preview_length=0))
    machine = resolve(options.hardware)
    reporter, folder = Reporter(), SweepFolder(out)
    folder.check(text)  # before it is locked, as a running training does too
    corpus = read_corpus(text, options.corpus, out)
    with folder.lock():
        trials = open_study(study, space, options.run.seed, out, terms(options, space, corpus, init_from))
        _ = corpus.ids  # written now, and then mapped into memory by every process
    for note in corpus.notes:
        reporter.say(f"{corpus.path}: {note}")
    rows = Sweep(options, space, corpus, machine, init_from, folder, trials, reporter).run()
    sys.stdout.write(report(rows, space, folder))


# The command line asks it where no other source gives an option.
sweep.fallbacks = fallbacks  # type: ignore[attr-defined]


def terms(options: Options, space: Space, corpus: Corpus, init_from: Path | None) -> dict[str, Any]:
    """What all trials of a sweep have in common, as JSON has it."""
    varied = {name.replace("-", "_") for name in space.variations}
    kept = {name: value for name, value in options.flat().items() if name not in OWN | varied}
    return {
        "text": corpus.digest,
        "vary": dict(space.texts),
        "init_from": str(init_from or ""),
        **kept,
    }


def report(rows: list[Row], space: Space, folder: SweepFolder) -> str:
    """What a sweep found, in words."""
    best = best_of(rows)
    assert best is not None
    lines = [
        table(rows, list(space.variations)),
        "",
        f"best: {best.name}, validation loss {best.outcome.loss:.4f}",
    ]
    out = folder.path
    if folder.has(best):
        lines.append(f"export it with: charloom export {out / 'best'} --out BUNDLE")
    else:
        lines.append(f"its checkpoint is on {best.machine}, where it was trained")
    return "\n".join([*lines, f"all trials: {out / TABLE}, {out / PLOT}", ""])
