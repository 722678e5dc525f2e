"""A run made ready: a new one, or one as its last checkpoint left it."""

from pathlib import Path

import torch

from charloom.errors import CharloomError
from charloom.vocabulary import VOCABULARIES, VocabularyKinds
from networks.registry import NETWORKS, NetworkError, NetworkRegistry
from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, load_training_state
from training.data.corpus import Corpus
from training.folder import RunFolder
from training.hardware import Hardware
from training.options import CHANGEABLE, Options
from training.ranks import ALONE, Ranks
from training.reporting.reporter import Reporter
from training.trainer import Trainer
from training.transfer import transfer


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
    networks: NetworkRegistry = NETWORKS,
    vocabularies: VocabularyKinds = VOCABULARIES,
) -> Trainer:
    """Makes a new run, from random weights or from a checkpoint's.

    Raises:
        CheckpointError: the checkpoint to start from cannot be read.
        TransferError: its weights do not fit.
    """
    torch.manual_seed(options.run.seed)
    model = networks.build(options.model, corpus.vocabulary.inputs, corpus.vocabulary.size)
    if init_from:
        reporter.say(transfer(load_checkpoint(init_from, networks, vocabularies), model, corpus.vocabulary))
    model = model.to(hardware.device)
    return Trainer(options, corpus, model, hardware, folder, reporter, ranks, networks, vocabularies)


def resumed(
    options: Options,
    corpus: Corpus,
    hardware: Hardware,
    folder: RunFolder,
    reporter: Reporter,
    ranks: Ranks = ALONE,
    networks: NetworkRegistry = NETWORKS,
    vocabularies: VocabularyKinds = VOCABULARIES,
) -> Trainer:
    """Makes the run in the folder ready, as its last checkpoint left it.

    Raises:
        ResumeError: the text is another one, or an option differs that must not, or a library finds other
            tokens in the text than it found before.
    """
    last = load_checkpoint(folder.last, networks, vocabularies)
    if last.summary["text"]["sha256"] != corpus.digest:
        raise ResumeError(f"{corpus.texts.name} is not the text that the run in {folder.path} is trained on")
    check_kept(stored_options(last), options, folder.path)
    if last.vocabulary != corpus.vocabulary:
        raise ResumeError(f"the run in {folder.path} has other tokens than its text now makes")
    was, is_ = last.summary["hardware"], hardware.summary()
    if was != is_:
        changed = ", ".join(f"{key} {was.get(key)} -> {is_[key]}" for key in is_ if was.get(key) != is_[key])
        reporter.say(f"the hardware has changed, so numbers may differ: {changed}")
    model = last.model().train().to(hardware.device)
    trainer = Trainer(options, corpus, model, hardware, folder, reporter, ranks, networks, vocabularies)
    trainer.resume(load_training_state(folder.last))
    return trainer


def check_kept(stored: Options, options: Options, run: Path) -> None:
    """Raises ResumeError if an option is not what it was in a run that goes on, and must be."""
    if stored.model.kind != options.model.kind:
        raise ResumeError(f"the run in {run} trains a network {stored.model.kind}, not {options.model.kind}")
    before = stored.flat()
    for name, value in options.flat().items():
        if value != before[name] and name not in CHANGEABLE:
            raise ResumeError(
                f"the run in {run} has {name.replace('_', '-')} {before[name]}, not {value}: "
                "a resumed run keeps its options"
            )


def too_large(
    options: Options, corpus: Corpus, hardware: Hardware, networks: NetworkRegistry = NETWORKS
) -> str:
    """Says what to do where memory does not suffice."""
    vocabulary = corpus.vocabulary
    parameters = networks.size(options.model, vocabulary.inputs, vocabulary.size)
    *names, last = (f"--{name}" for name in options.model.size_options)
    smaller = f"{', '.join(names)} or {last}" if names else last
    return (
        f"the model of {parameters:,} parameters, or a step of it, is too large for the memory of the "
        f"{'GPU' if hardware.device.type == 'cuda' else 'machine'}: "
        f"lower {smaller}, or else --batch or --length"
    )


def stored_options(checkpoint: Checkpoint) -> Options:
    """Reads the options of a checkpoint's run.

    Raises:
        CheckpointError: they are malformed.
    """
    try:
        return Options.from_json(checkpoint.options, checkpoint.networks)
    except (NetworkError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint.name}: its options are malformed: {error}") from error
