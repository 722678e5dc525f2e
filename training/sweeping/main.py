"""The command `charloom sweep`: trains on a text again and again with varied options, and keeps the best.

The same command resumes a sweep, and joins one that runs. What trains is imported when it trains,
so that `--help` is quick.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from training.main import fallbacks
from training.options import CHANGEABLE, FLAT, Options
from training.presets import PresetName
from training.sweeping.config import StudyConfig
from training.sweeping.outcome import Row, best_of
from training.sweeping.space import Space
from training.sweeping.table import table

if TYPE_CHECKING:
    from training.data.corpus import Corpus
    from training.sweeping.folder import SweepFolder

PER_PROCESS = CHANGEABLE - {"epochs", "max_minutes", "patience"}
"""Options in which the processes of a sweep may differ: those that a resumed run may change, but for those
that say how long a trial takes."""


def sweep(
    text: list[Path],
    /,
    *,
    out: Path,
    vary: tuple[str, ...] = (),
    preset: PresetName | None = None,  # noqa: ARG001 (fallbacks sees to it)
    init_from: Path | None = None,
    study: Annotated[StudyConfig, FLAT] = StudyConfig(),
    options: Annotated[Options, FLAT] = Options(),
) -> None:
    """Train again and again with other options, and keep the best model.

    Args:
        text: Files of the text to learn, in UTF-8, folders of such, or patterns; a dash is standard input.
        out: Folder for the trials, the table, the plot and the best checkpoint. The same command goes
            on with a sweep that was stopped, and joins one that runs.
        vary: Options that vary and their values: cells=128,256 or dropout=0..0.5 or
            learning-rate=1e-4..1e-2:log or cells=64..512:64.
        preset: Named set of options in place of the defaults; options that you give still win.
        init_from: Checkpoint whose weights each trial starts from, and whose tokens it keeps.
        study: How trials are chosen, and where they are kept.
        options: How to train, where nothing varies.
    """
    from charloom.texts import found_texts
    from training.data.read_corpus import read_corpus
    from training.fine_tuning import run_vocabulary_builder
    from training.hardware import resolve
    from training.reporting.reporter import Reporter
    from training.sweeping.folder import SweepFolder
    from training.sweeping.study import open_study
    from training.sweeping.sweep import Sweep
    from training.sweeping.trial_run import TrialRunner

    space = Space.parse(vary)
    run = replace(options.run, max_minutes=study.trial_minutes) if study.trial_minutes else options.run
    options = replace(options, run=run, preview=replace(options.preview, preview_length=0))
    hardware = resolve(options.hardware)
    reporter, folder = Reporter(), SweepFolder(out)
    with found_texts(text, out) as texts:
        folder.check(texts.files)  # before it is locked, as a running training does too
        builder = run_vocabulary_builder(init_from, options.tokens)
        corpus = read_corpus(texts, options.corpus, out, builder, options.records)
        with folder.lock():
            trials = open_study(study, space, options.run.seed, out, terms(options, space, corpus, init_from))
            corpus.encode()  # written now, and then mapped into memory by every process
    for note in corpus.notes:
        reporter.say(f"{corpus.texts.name}: {note}")
    runner = TrialRunner(options, space, corpus, hardware, init_from, folder)
    rows = Sweep(trials, runner, reporter).run()
    sys.stdout.write(report(rows, space, folder))


# The command line takes from it what no other source gives.
sweep.fallbacks = fallbacks  # type: ignore[attr-defined]


def terms(options: Options, space: Space, corpus: "Corpus", init_from: Path | None) -> dict[str, Any]:
    """What all trials of a sweep have in common, as JSON values by name."""
    from charloom.vocabulary import digest

    varied = {name.replace("-", "_") for name in space.variations}
    kept = {name: value for name, value in options.flat().items() if name not in PER_PROCESS | varied}
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
    return {
        "text": corpus.digest,
        "vary": dict(space.texts),
        "init_from": str(init_from or ""),
        **kept,
        "digest_of_tokens": digest(corpus.vocabulary),
    }


def report(rows: list[Row], space: Space, folder: "SweepFolder") -> str:
    """The table of a sweep, and how to export its best model."""
    from training.sweeping.folder import PLOT, TABLE

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
