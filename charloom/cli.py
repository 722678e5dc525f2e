"""The `charloom` command: a table of subcommands, each loaded when it is called.

It imports no other package. Where options come from is in `settings.py`.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter

import charloom
from charloom.errors import CharloomError, ConfigError, how_to_install, require
from charloom.settings import Settings
from charloom.words import CommandLine, wants_help

COMMANDS = {
    "train": ("training.main:train", "Train a model on a text."),
    "sweep": ("training.sweeping.main:sweep", "Train again and again with other options; keep the best."),
    "export": ("export.main:export", "Export a checkpoint to a verified ONNX bundle."),
    "evaluate": ("charloom.evaluate:evaluate", "Say how well a checkpoint or a bundle predicts a text."),
    "serve": ("serving.main:serve", "Stream from bundles over gRPC."),
    "generate": ("serving.commands.generate:generate", "Generate text from a server or a bundle."),
    "merge": ("serving.commands.merge:merge", "Merge what the shards of a large generation made."),
    "score": ("serving.commands.score:score", "Say how surprising texts are to a model."),
    "similar": ("serving.commands.similar:similar", "Find the texts that are most like another one."),
    "write": ("writing.main:write", "Write with a model: your words and its words, in turns."),
}
"""Subcommand to the function behind it and its line of help."""

OPTIONS = Parameter(negative=(), consume_multiple=1, json_list=False, json_dict=False)
"""What holds for every option: no --no-… and --empty-…, several values of a list, none of them JSON."""


def build_app(settings: Settings) -> App:
    """The command line with its sources of settings."""
    app = App(
        name="charloom",
        help="Train small recurrent text generators on your own text, and stream from them.",
        help_format="plaintext",
        help_epilogue="Each command has a --help of its own.",
        version=charloom.__version__,
        config=settings.sources,
        default_parameter=OPTIONS,
        suppress_keyboard_interrupt=False,  # `main` says what happened
    )
    for name, (target, summary) in COMMANDS.items():
        app.command(target, name=name, help=summary)
    return app


def arguments_of(app: App, command: str) -> ArgumentCollection:
    """The options and positional arguments of a command."""
    return app[command].assemble_argument_collection(default_parameter=OPTIONS)


def run(words: Sequence[str]) -> None:
    """Runs the command that the words of a command line name.

    Raises:
        ConfigError: they name none, or a file of settings that cannot be used.
    """
    config, words = take_config(words)
    settings = Settings.read(config, tuple(COMMANDS))
    app = build_app(settings)
    name, *rest = words or [""]
    if name in COMMANDS:
        arguments = arguments_of(app, name)
        rest = CommandLine.of(arguments).attached(rest)
        if wants_help(rest):
            from charloom.help import show_help  # what it needs takes longer to import than all else here

            show_help(app, name, arguments)
            return
        words = [name, *rest]
    elif name and not name.startswith("-"):
        raise ConfigError(repr(name), f"is no command; there are {', '.join(COMMANDS)}")
    try:
        app(words, exit_on_error=False, print_error=False)
    except (CharloomError, CycloptsError) as error:
        fail(settings.explained(error), getattr(error, "exit_code", ConfigError.exit_code))


def take_config(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file of settings that the words or else the environment name, and the other words.

    Raises:
        ConfigError: `--config` names none.
    """
    file = os.environ.get("CHARLOOM_CONFIG")
    others: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--config":
            file = next(left, "")
        elif word.startswith("--config="):
            file = word.partition("=")[2]
        else:
            others.append(word)
    require(file != "", "--config", "needs the name of a file")
    return None if file is None else Path(file), others


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code: no traceback reaches a user."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # As Ctrl-C does, so that nothing half-written stays behind; and the first process of a container,
        # to which the kernel gives no default action, ends at all.
        signal.signal(signal.SIGTERM, lambda number, _: fail("terminated", 128 + number))
    try:
        run(sys.argv[1:] if arguments is None else list(arguments))
    except CharloomError as error:
        fail(str(error), error.exit_code)
    except ImportError as error:
        explain_missing(error)
        raise
    except BrokenPipeError:
        discard_output()  # its reader has gone, as `head` does
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    sys.exit(0)


def fail(message: str, code: int) -> NoReturn:
    """Says what went wrong on standard error and exits."""
    print(f"charloom: error: {message}", file=sys.stderr)  # noqa: T201
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
    sys.exit(code)


def discard_output() -> None:
    """Sends what is left for a standard output that cannot take it nowhere.

    Python flushes once more as it ends, and would complain once more.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


EXTRAS = {
    "torch": "train",
    "safetensors": "train",
    "jinja2": "train",
    "optuna": "sweep",
    "onnx_ir": "export",
    "onnx": "serve",
    "onnxruntime": "serve",
    "prometheus_client": "serve",
    "cryptography": "serve",
    "grpc": "client",
    "google": "client",
    "textual": "write",
}
"""The extra that brings each package a command may miss."""


def explain_missing(error: ImportError) -> None:
    """Exits with a word on the extra to install, if a package of an extra is what is missing."""
    # A subcommand that fails to load reaches us wrapped, the missing package one level down.
    missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = (missing.name or "").partition(".")[0]
    if package in EXTRAS:
        fail(f"this command needs {package}: {how_to_install(EXTRAS[package])}", 1)
