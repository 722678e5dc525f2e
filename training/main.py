"""The command `charloom train`: a text in, checkpoints out.

Options that no other source gives come from the run that is resumed, from a preset or from the
checkpoint to start from, as if they stood in one more settings file. What trains is imported when it
trains, so that `--help` is quick.
"""

import os
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Argument, ArgumentCollection
from cyclopts.config import Dict

from charloom.tokens_config import TokensConfig
from training.options import FLAT, Options
from training.presets import PRESETS, PresetName

if TYPE_CHECKING:
    from training.data.corpus import Corpus


def fallbacks(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Adds the last source of settings: a resumed run, else a preset and the checkpoint to start from."""

    def value(name: str) -> Any:
        argument: Argument | None = arguments.get(name, None)  # a sweep has no --resume
        return argument.convert() if argument is not None and argument.has_tokens else None

    def on_command_line(name: str) -> bool:
        """Whether it is on the command line; in a file or the environment it was meant for the beginning."""
        argument: Argument | None = arguments.get(name, None)
        return argument is not None and any(token.source == "cli" for token in argument.tokens)

    def fill(values: dict[str, Any], source: str) -> None:
        Dict(values, use_commands_as_keys=False, source=source)(app, commands, arguments)

    out, preset, start = value("--out"), value("--preset"), value("--init-from")
    if value("--resume") and out is not None:
        from training.checkpoint import load_checkpoint
        from training.folder import RunFolder
        from training.run import ResumeError, stored_options

        if on_command_line("--preset") or on_command_line("--init-from"):
            raise ResumeError("a resumed run keeps its options: leave out --preset and --init-from")
        RunFolder(out).check(resume=True, overwrite=False)
        last = load_checkpoint(out / "last")
        fill(stored_options(last).flat(), f"the run {out}:")
        return
    if start is not None:
        from training.checkpoint import load_checkpoint
        from training.run import stored_options

        checkpoint = load_checkpoint(start)
        fill(asdict(checkpoint.config), f"the checkpoint {start}:")
        if value("--tokens") is None:
            fill(kind_of_tokens(stored_options(checkpoint).tokens), f"the checkpoint {start}:")
    if preset is not None:
        fill(PRESETS[preset], f"the preset {preset}:")


def kind_of_tokens(config: TokensConfig) -> dict[str, Any]:
    """Returns the options that say what a token is, of a model that another one goes on from."""
    values = {"tokens": config.tokens, "token_pattern": config.token_pattern}
    return {name: value for name, value in values.items() if value is not None}


def train(
    text: list[Path],
    /,
    *,
    out: Path,
    preset: PresetName | None = None,  # noqa: ARG001  # `fallbacks` reads it
    resume: bool = False,
    overwrite: bool = False,
    init_from: Path | None = None,
    options: Annotated[Options, FLAT] = Options(),
) -> None:
    """Train a model on a text.

    Args:
        text: Files of the text to learn, in UTF-8, folders of such, or patterns; a dash is standard input.
        out: Folder of the run, where its checkpoints and report go.
        preset: Named set of options in place of the defaults; options that you give still win.
        resume: Go on with the run in the folder, with its options.
        overwrite: Replace the run in the folder.
        init_from: Checkpoint whose weights to start from, and whose tokens to keep.
        options: How to train.
    """
    from charloom.texts import found_texts
    from training.checkpoint import load_checkpoint
    from training.data.corpus import ShortTextError
    from training.data.read_corpus import read_corpus
    from training.defaults import settled
    from training.fine_tuning import TransferError, run_vocabulary_builder
    from training.folder import FILES, RunFolder, spare_texts
    from training.hardware import enough_memory, resolve
    from training.interrupt import StoppedError
    from training.ranks import Ranks
    from training.reporting.reporter import QuietReporter, Reporter
    from training.reporting.tensorboard import TensorBoardError
    from training.run import ResumeError, check_kept, fresh, resumed, stored_options, too_large
    from training.trainer import DivergedError

    # Every rank of a training raises these alike.
    alike = (TensorBoardError, ResumeError, ShortTextError, TransferError, DivergedError, StoppedError)
    with (
        ExitStack() as spool,
        Ranks.of(os.environ) as ranks,
        RunFolder(out) as folder,
        ranks.error_once(*alike),
    ):
        if ranks.from_first(lambda: ranks.restarts > 0 and folder.holds_run_of(ranks.job)):
            # torchrun has started all again, with what it was given for the beginning
            options = options if resume else stored_options(load_checkpoint(folder.last))
            resume, overwrite, init_from = True, False, None

        def look() -> "Corpus":
            texts = spool.enter_context(found_texts(text, out))
            spare_texts(out, FILES, texts.files)
            if out.is_dir():
                folder.lock()
            folder.check(resume=resume, overwrite=overwrite)
            ranks.lanes(options.batches.batch)
            if resume:
                check_kept(stored_options(load_checkpoint(folder.last)), options, out)
            builder = run_vocabulary_builder(folder.last if resume else init_from, options.tokens)
            try:
                return read_corpus(texts, options.corpus, out, builder, options.records)
            except TransferError as error:
                if not resume:
                    raise
                raise ResumeError(f"the text is not that of the run: {error}") from error

        def occupy() -> None:
            folder.lock()
            folder.check(resume=resume, overwrite=overwrite)  # another run may have come and gone
            folder.open(overwrite=overwrite)
            folder.sign(ranks.job)
            read.encode()

        machine = resolve(options.hardware, ranks)
        read = ranks.from_first(look)
        filled = settled(options, read)
        options = filled.options
        reporter = Reporter(config=options.report) if ranks.first else QuietReporter()
        with enough_memory(lambda: too_large(options, read, machine)):
            if resume:
                trainer = resumed(options, read, machine, folder, reporter, ranks)
            else:
                trainer = fresh(options, read, machine, folder, reporter, init_from, ranks)
            ranks.from_first(occupy)
            trainer.describe(filled.reason)
            trainer.run()


# The command line asks it where no other source gives an option.
train.fallbacks = fallbacks  # type: ignore[attr-defined]
