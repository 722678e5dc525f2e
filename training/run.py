"""A run made ready: a new one, or one as its last checkpoint left it.

It knows nothing of the command line.
"""

from pathlib import Path

import torch

from charloom.errors import CharloomError
from networks.recurrent import RecurrentModel
from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, load_training_state
from training.data.corpus import Corpus
from training.folder import RunFolder
from training.hardware import Hardware
from training.options import Options
from training.ranks import ALONE, Ranks
from training.reporting.report import Reporter
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
    "print_every",
    "metrics_every",
    "tensorboard",
}
"""Options that a run may be given anew when it is resumed."""


class ResumeError(CharloomError):
    """The run cannot go on with this text or these options."""

    exit_code = 14


def fresh(
    options: Options,
    corpus: Corpus,
    hardware: Hardware,
    folder: RunFolder,
    reporter: Reporter,
    init_from: Path | None = None,
    ranks: Ranks = ALONE,
) -> Trainer:
    """A new run, from random weights or from a checkpoint's."""
    torch.manual_seed(options.run.seed)
    model = RecurrentModel(options.model, corpus.vocabulary.inputs, corpus.vocabulary.size)
    if init_from:
        reporter.say(transfer(load_checkpoint(init_from), model, corpus.vocabulary))
    return Trainer(options, corpus, model.to(hardware.device), hardware, folder, reporter, ranks)


def resumed(
    options: Options,
    corpus: Corpus,
    hardware: Hardware,
    folder: RunFolder,
    reporter: Reporter,
    ranks: Ranks = ALONE,
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
    trainer = Trainer(options, corpus, model, hardware, folder, reporter, ranks)
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


def describe(trainer: Trainer, reason: str) -> None:
    """Says what is about to be trained, on what, and the reason of what was left open."""
    corpus, hardware, model = trainer.corpus, trainer.hardware, trainer.model
    config, say = model.config, trainer.reporter.say
    training, validation, test = corpus.characters
    for note in corpus.notes:
        say(f"{corpus.path}: {note}")
    say(
        f"text: {sum(corpus.characters):,} characters ({training:,} training, {validation:,} validation, "
        f"{test:,} test)"
    )
    say(
        f"vocabulary: {corpus.vocabulary.kind}, {corpus.vocabulary.size:,} different tokens, "
        f"{sum(corpus.parts):,} in the text"
    )
    say(
        f"model: {config.cell}, {config.layers} x {config.cells} cells, "
        f"{f'embedding {config.embedding}' if config.embedding else 'one-hot'}, "
        f"{model.parameter_count():,} parameters"
    )
    if reason:
        say(reason)
    say(
        f"hardware: {hardware.device.type} ({hardware.name}), {hardware.precision}, "
        f"{hardware.threads} thread{'s'[: hardware.threads > 1]}"
        f"{f', {hardware.processes} processes' if hardware.processes > 1 else ''}"
    )
    if trainer.progress.step:
        say(f"resuming at epoch {trainer.epoch:.2f}, step {trainer.progress.step:,}")
