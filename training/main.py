"""The command `charloom train`: a text in, checkpoints out.

Options that no other source gives come from the run that is resumed, from a preset or from the
checkpoint to start from, as if they stood in one more settings file.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Argument, ArgumentCollection, Parameter
from cyclopts.config import Dict

from charloom.errors import CharloomError
from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, load_training_state
from training.corpus import Corpus, read_corpus
from training.folder import RunFolder
from training.hardware import Hardware, enough_memory, resolve
from training.model import RecurrentModel
from training.options import FLAT, Options
from training.presets import PRESETS, PresetName
from training.report import Reporter
from training.trainer import Trainer
from training.transfer import transfer

CHANGEABLE = {
    "epochs",
    "max_minutes",
    "patience",
    "save_minutes",
    "keep",
    "device",
    "precision",
    "threads",
    "preview_temperatures",
    "preview_length",
}
"""Options that a run may be given anew when it is resumed."""

ARCHITECTURE = ("cell", "layers", "cells", "embedding")
"""Options that a run takes from the checkpoint it starts from."""


class ResumeError(CharloomError):
    """The run cannot go on with this text or these options."""

    exit_code = 14


def fallbacks(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """The last source of settings: a resumed run, else a preset and the checkpoint to start from."""

    def given(name: str) -> Any:
        argument: Argument = arguments[name]
        return argument.convert() if argument.has_tokens else None

    def fill(values: dict[str, Any], source: str) -> None:
        Dict(values, use_commands_as_keys=False, source=source)(app, commands, arguments)

    out, preset, start = given("--out"), given("--preset"), given("--init-from")
    if given("--resume") and out is not None:
        RunFolder(out).check(resume=True, overwrite=False)
        last = load_checkpoint(out / "last")
        fill(stored_options(last).flat(), f"the run {out}")
        return
    if start is not None:
        values = stored_options(load_checkpoint(start)).flat()
        fill({name: values[name] for name in ARCHITECTURE}, f"the checkpoint {start}")
    if preset is not None:
        fill(PRESETS[preset], f"the preset {preset}")


def train(
    text: Path,
    /,
    *,
    out: Path,
    preset: PresetName | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    init_from: Path | None = None,
    options: Annotated[Options, FLAT] = Options(),
) -> None:
    """Train a model on a text.

    Args:
        text: The text, UTF-8.
        out: Folder for the run's checkpoints.
        preset: Set of options in place of the defaults; those given explicitly still win.
        resume: Go on with the run in the folder, with its options.
        overwrite: Replace the run in the folder.
        init_from: Checkpoint whose weights to start from.
        options: How to train.
    """
    if resume and (preset or init_from):
        raise ResumeError("a resumed run keeps its options: leave out --preset and --init-from")
    with RunFolder(out) as folder:
        if out.is_dir():
            folder.lock()
        folder.check(resume=resume, overwrite=overwrite)
        reporter = Reporter()
        machine = resolve(options.hardware)
        read = read_corpus(text, options.corpus)
        with enough_memory(lambda: too_large(options, read, machine)):
            if resume:
                trainer = resumed(options, read, machine, folder, reporter)
            else:
                trainer = fresh(options, read, machine, folder, reporter, init_from)
            folder.lock()
            folder.check(resume=resume, overwrite=overwrite)  # another run may have come and gone
            folder.open(overwrite=overwrite)
            describe(trainer)
            trainer.run()


# The command line asks it where no other source gives an option.
train.fallbacks = fallbacks  # type: ignore[attr-defined]


def fresh(
    options: Options,
    corpus: Corpus,
    hardware: Hardware,
    folder: RunFolder,
    reporter: Reporter,
    init_from: Path | None,
) -> Trainer:
    """A new run, from random weights or from a checkpoint's."""
    torch.manual_seed(options.run.seed)
    model = RecurrentModel(options.model, corpus.vocabulary.inputs, corpus.vocabulary.size)
    if init_from:
        reporter.say(transfer(load_checkpoint(init_from), model, corpus.vocabulary))
    return Trainer(options, corpus, model.to(hardware.device), hardware, folder, reporter)


def resumed(
    options: Options, corpus: Corpus, hardware: Hardware, folder: RunFolder, reporter: Reporter
) -> Trainer:
    """The run in the folder, as its last checkpoint left it.

    Raises:
        ResumeError: the text is another one, or an option differs that must not.
    """
    last = load_checkpoint(folder.last)
    before, now = stored_options(last).flat(), options.flat()
    if last.summary["text"]["sha256"] != corpus.digest:
        raise ResumeError(f"{corpus.path} is not the text that the run in {folder.path} is trained on")
    for name, value in now.items():
        if value != before[name] and name not in CHANGEABLE:
            raise ResumeError(
                f"the run in {folder.path} has {name.replace('_', '-')} {before[name]}, not {value}: "
                "a resumed run keeps its options"
            )
    was, is_ = last.summary["hardware"], hardware.summary()
    if was != is_:
        changed = ", ".join(f"{key} {was.get(key)} -> {is_[key]}" for key in is_ if was.get(key) != is_[key])
        reporter.say(f"the hardware has changed, so numbers may differ: {changed}")
    model = last.model().train().to(hardware.device)
    trainer = Trainer(options, corpus, model, hardware, folder, reporter)
    trainer.resume(load_training_state(folder.last))
    return trainer


def too_large(options: Options, corpus: Corpus, hardware: Hardware) -> str:
    """What to say where memory does not suffice."""
    vocabulary = corpus.vocabulary
    parameters = RecurrentModel.size(options.model, vocabulary.inputs, vocabulary.size)
    return (
        f"the model of {parameters:,} parameters, or a step of it, is too large for the memory of the "
        f"{'GPU' if hardware.device.type == 'cuda' else 'machine'}: "
        "lower --cells, --layers or --embedding, or else --batch or --length"
    )


def stored_options(checkpoint: Checkpoint) -> Options:
    """The options of a checkpoint's run."""
    try:
        return Options.from_json(checkpoint.options)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint.name}: its options are malformed: {error}") from error


def describe(trainer: Trainer) -> None:
    """Says what is about to be trained, on what."""
    corpus, hardware, model = trainer.corpus, trainer.hardware, trainer.model
    config, say = model.config, trainer.reporter.say
    for note in corpus.notes:
        say(f"{corpus.path}: {note}")
    say(
        f"text: {corpus.length:,} characters ({len(corpus.train):,} training, "
        f"{len(corpus.validation):,} validation, {len(corpus.test):,} test), "
        f"{corpus.vocabulary.size} different"
    )
    say(
        f"model: {config.cell}, {config.layers} x {config.cells} cells, "
        f"{f'embedding {config.embedding}' if config.embedding else 'one-hot'}, "
        f"{model.parameter_count():,} parameters"
    )
    say(
        f"hardware: {hardware.device.type} ({hardware.name}), {hardware.precision}, "
        f"{hardware.threads} thread{'s'[: hardware.threads > 1]}"
    )
    if trainer.progress.step:
        say(f"resuming at epoch {trainer.epoch:.2f}, step {trainer.progress.step:,}")
