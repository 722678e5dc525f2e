"""The `charloom` command: a table of subcommands, each loaded when it is called.

It imports no room. Every option of a subcommand can also come from an environment variable
(`CHARLOOM_` and its name) or a TOML file (`--config FILE`, else `charloom.toml` where there is
one; a table per subcommand); the command line wins, then the environment, then the file.
"""

import os
import signal
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Env, Toml

import charloom
from charloom.errors import CharloomError, ConfigError, how_to_install, require

COMMANDS = {
    "train": ("training.main:train", "Train a model on a text."),
    "sweep": ("training.sweeping.main:sweep", "Train again and again with other options; keep the best."),
    "export": ("export.main:export", "Export a checkpoint to a verified ONNX bundle."),
    "evaluate": ("charloom.evaluate:evaluate", "Say how well a checkpoint or a bundle predicts a text."),
    "serve": ("serving.main:serve", "Stream from bundles over gRPC."),
    "generate": ("serving.commands.generate:generate", "Generate text from a server or a bundle."),
    "score": ("serving.commands.score:score", "Say how surprising texts are to a model."),
    "similar": ("serving.commands.similar:similar", "Find the texts that are most like another one."),
    "write": ("writing.main:write", "Write with a model: your words and its words, in turns."),
}
"""Subcommand to the function behind it and its line of help."""

DEFAULT_CONFIG = Path("charloom.toml")


def build_app(config: Path | None = None) -> App:
    """The command line with its sources of settings; `config` must exist where it is given."""
    app = App(
        name="charloom",
        help="Train small recurrent text generators on your own text, and stream from them.",
        version=charloom.__version__,
        config=[
            Env("CHARLOOM_", command=False),
            Toml(config or DEFAULT_CONFIG, must_exist=config is not None),
            fallbacks,
        ],
    )
    for name, (target, summary) in COMMANDS.items():
        app.command(target, name=name, help=summary)

    for part in (app, app.meta):
        part.suppress_keyboard_interrupt = False  # `main` says what happened

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, Parameter(help="TOML file of settings.")] = None,
    ) -> None:
        if tokens and not tokens[0].startswith("-") and tokens[0] not in COMMANDS:
            fail(f"unknown command {tokens[0]!r}; there are {', '.join(COMMANDS)}", 2)
        if config:
            check_config(config)
        (build_app(config) if config else app)(tokens)

    return app


def fallbacks(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """The last source of settings: the subcommand's own, if its function has one (train's presets)."""
    source = getattr(app.default_command, "fallbacks", None)
    if source is not None:
        source(app, commands, arguments)


def check_config(path: Path) -> None:
    """Raises ConfigError, which names the file, unless it is TOML with a table per subcommand."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(str(path), f"is no TOML: {error}") from error
    for name in tables:
        require(name in COMMANDS, str(path), f"has settings of {name!r}, which is no command")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code: no traceback reaches a user."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # As Ctrl-C does, so that nothing half-written stays behind; and the first process of a container,
        # to which the kernel gives no default action, ends at all.
        signal.signal(signal.SIGTERM, lambda number, _: fail("terminated", 128 + number))
    app = build_app()
    try:
        if DEFAULT_CONFIG.is_file():
            check_config(DEFAULT_CONFIG)
        app.meta(arguments)
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
