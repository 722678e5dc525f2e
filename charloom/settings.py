"""Settings: the sources of a command's options, which of them wins, and what an option is called in each.

An option comes from the command line, else from an environment variable, else from a TOML file, else
from the command's own source (the run that is resumed, a preset). The environment variable of an option
is CHARLOOM_<COMMAND>_<OPTION>; those in GENERAL may go without the command's name. Of options that
exclude each other, the one from the higher source stands.
"""

import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, MissingArgumentError, Token
from cyclopts.config import Dict

from charloom.errors import ConfigError, require
from charloom.options import Violation

Source = Callable[[App, tuple[str, ...], ArgumentCollection], None]
"""Gives values to the options that have none."""

PREFIX = "CHARLOOM_"
GENERAL = ("--address", "--tls", "--tls-root", "--tls-certificate", "--tls-key", "--token", "--token-file")
"""Options with a variable for all commands that call a server: where it is, and how to be let in."""
EXCLUSIVE = (
    ("--address", "--bundle"),
    ("--address", "--checkpoint"),
    ("--bundle", "--checkpoint"),
    ("--address", "--device"),
    ("--address", "--precision"),
    ("--model", "--bundle"),
    ("--model", "--checkpoint"),
    ("--token", "--token-file"),
    ("--state-keys", "--state-key-lines"),
)
"""Pairs of options that exclude each other in a command that has both."""

DEFAULT_FILE = Path("charloom.toml")
ENVIRONMENT = "environment"
FIELD = re.compile(r"[a-z]+(?:_[a-z0-9]+)*")
FIELD_NAMES = re.compile(rf"{FIELD.pattern}(?:(?:,| and| or) {FIELD.pattern})*(?:$|, line )")
"""The beginning of what an error names: one or more fields."""
OPTION_WORD = re.compile(r"(?<![\w./\\'\"-])[a-z]+(?:_[a-z0-9]+)+(?![\w./\\'\"-])")
"""The name of a field in a message, where it cannot be taken for an ordinary word or part of a path."""


class Settings:
    """Where the options of one command come from, and came from."""

    def __init__(self, tables: Mapping[str, Any], path: Path = DEFAULT_FILE) -> None:
        self._tables = tables
        self._path = path
        self._arguments: Iterable[Argument] = ()

    @classmethod
    def read(cls, path: Path | None, commands: Sequence[str]) -> "Settings":
        """Reads a TOML file with a table for each command; without a path, the default one if it is there.

        Raises:
            ConfigError: it cannot be read, or is something else.
        """
        if path is None and not DEFAULT_FILE.is_file():
            return cls({})
        path = path or DEFAULT_FILE
        try:
            tables = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(str(path), f"is no TOML: {error}") from error
        for name, table in tables.items():
            require(name in commands, str(path), f"has settings of {name!r}, which is no command")
            require(isinstance(table, dict), str(path), f"has {name!r} as a value; write [{name}], a table")
        return cls(tables, path)

    @property
    def sources(self) -> list[Source]:
        """The sources after the command line, the highest first."""
        ranked = (from_variables, from_general_variables, self._from_file, own)
        return [self._remember, *map(exclusive, ranked), unless_empty]

    def _remember(self, _: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
        self._arguments = arguments

    def _from_file(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        table = self._tables.get(commands[0], {}) if commands else {}
        source = f"{self._path} [{commands[0]}]" if commands else str(self._path)
        Dict(table, use_commands_as_keys=False, source=source)(app, commands, arguments)

    def name(self, field: str) -> str:
        """What the user calls the option of a field: by the source of its value, else as on the command line.

        `--top-k`, `CHARLOOM_GENERATE_TOP_K`, `charloom.toml [generate] top_k`. It may be several fields,
        "tls_key and tls_root", or a place in one, "state_key_lines, line 3"; what is no option keeps its
        name.
        """
        if FIELD_NAMES.match(field) is None:
            return field
        called = {one.field_info.name: called_by(one) for one in options(self._arguments)}
        return FIELD.sub(lambda found: called.get(found[0], found[0]), field)

    def reworded(self, message: str) -> str:
        """A message with the names of options in place of those of fields."""
        names = {one.field_info.name: one.name for one in options(self._arguments)}
        return OPTION_WORD.sub(lambda found: names.get(found[0], found[0]), message)

    def explained(self, error: Exception) -> str:
        """What to tell a user of an error that ends the command."""
        violations: Sequence[Violation] = getattr(error, "violations", ())
        if violations:
            return "; ".join(f"{self.name(v.field)} {self.reworded(v.reason)}" for v in violations)
        if isinstance(error, ConfigError):
            return f"{self.name(error.name)} {self.reworded(error.reason)}"
        if isinstance(error, CycloptsError):
            return parsing_error(error)
        return self.reworded(str(error))


def options(arguments: Iterable[Argument]) -> Iterator[Argument]:
    """The options and positional arguments of a command, without the groups that hold them."""
    return (argument for argument in arguments if argument.parse and not argument.children)


def has(arguments: ArgumentCollection, option: str) -> bool:
    """Whether a command has an option."""
    return any(one.name == option for one in options(arguments))


def variable(command: str, option: str) -> str:
    """The environment variable of an option, such as CHARLOOM_TRAIN_LEARNING_RATE."""
    return PREFIX + f"{command}_{general(option)}".upper().replace("-", "_")


def general(option: str) -> str:
    """An option's name as the end of a variable."""
    return option.lstrip("-").upper().replace("-", "_")


def from_variables(_: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """The variables of one command."""
    if commands:
        take_variables(arguments, lambda option: variable(commands[0], option))


def from_general_variables(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """The variables of all commands that call a server."""
    if has(arguments, "--address"):
        take_variables(arguments, lambda option: PREFIX + general(option) if option in GENERAL else "")


def take_variables(arguments: ArgumentCollection, named: Callable[[str], str]) -> None:
    """Gives each option that has no value the words of its variable.

    Raises:
        ConfigError: a list has a quotation mark without its pair.
    """
    for argument in options(arguments):
        name = named(argument.name)
        if argument.tokens or name not in os.environ:
            continue
        for index, word in enumerate(words_of(argument, name, os.environ[name])):
            argument.append(Token(keyword=name, value=word, source=ENVIRONMENT, index=index))


def words_of(argument: Argument, name: str, text: str) -> list[str]:
    """The words of a variable's value: one, or of a list those that a shell would make of it."""
    if not is_list(argument):
        return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(name, f"is no list of words: {error} in {text!r}") from error


def is_list(argument: Argument) -> bool:
    """Whether an option takes several values."""
    return get_origin(argument.hint) in (tuple, list)


def holds_text(hint: Any) -> bool:
    """Whether a value of this type is text, or a path, or something written as text."""
    return hint in (str, Path) or any(map(holds_text, get_args(hint)))


def own(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """The source of the command itself, if its function has one."""
    source = getattr(app.default_command, "fallbacks", None)
    if source is not None:
        source(app, commands, arguments)


def exclusive(source: Source) -> Source:
    """A source that gives no option which one from a higher source excludes."""

    def take(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        all_options = list(options(arguments))
        known = {argument.name for argument in all_options}
        had = {argument.name for argument in all_options if argument.tokens}
        pairs = [pair for pair in EXCLUSIVE if known.issuperset(pair)]
        beaten = {other for pair in pairs for one, other in (pair, pair[::-1]) if one in had} - had
        source(app, commands, arguments)
        for name in beaten:
            arguments[name].tokens.clear()

    return take


def unless_empty(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Raises ConfigError for an empty path, which would be the current folder."""
    for argument in options(arguments):
        if Path in (argument.hint, *get_args(argument.hint)):
            for token in argument.tokens:
                require(
                    token.value != "", place(token, argument.name), "is empty, and names no file or folder"
                )


def called_by(argument: Argument) -> str:
    """What an option is called where its value came from."""
    return place(argument.tokens[0], argument.name) if argument.tokens else argument.name


def place(token: Token, name: str = "") -> str:
    """Where a value came from: an option, a variable, or a key of a file or of another source."""
    if token.source in ("cli", ENVIRONMENT):
        return token.keyword or name
    return f"{token.source} {(token.keyword or '').strip('[]')}"


def parsing_error(error: CycloptsError) -> str:
    """What to tell a user of words that make no options."""
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return f"{error.keyword} needs a value" if error.keyword else f"{error.argument.name} is missing"
    error.verbose = False
    token: Token | None = getattr(error, "token", None)
    if token is not None and token.source != "cli":
        error.token = token.evolve(keyword=place(token), source="cli")  # type: ignore[attr-defined]
    return str(error).strip()
