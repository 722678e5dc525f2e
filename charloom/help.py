"""Help pages: those of cyclopts, with ranges, readable defaults, and where else options come from."""

from collections.abc import Mapping
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, Parameter
from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel, InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text

from charloom.ranges import ranges_of, shown
from charloom.settings import GENERAL, PREFIX, general, has, is_list, options, variable


def show_help(app: App, command: str, arguments: ArgumentCollection) -> None:
    """Prints the help of a command."""
    one = app[command]
    one.default_parameter = Parameter(show_default=default_shown)
    one.help_formatter = RangeFormatter(ranges(arguments))
    one.help_epilogue = epilogue(command, arguments)
    one.usage = usage(command, arguments)
    app.help_print([command])


def default_shown(value: Any) -> str | None:
    """A default in a help text; None for one that says nothing."""
    if value is None or value is False or value in ("", ()):
        return None
    if isinstance(value, tuple):
        return " ".join(map(str, map(default_shown, value)))
    return shown(value) if isinstance(value, int | float) and value is not True else str(value)


def ranges(arguments: ArgumentCollection) -> dict[str, str]:
    """The range of each option that has one, in words, by the option's name."""
    found = {one.name: next(ranges_of(one.field_info.annotation), "") for one in options(arguments)}
    return {name: said for name, said in found.items() if said}


def epilogue(command: str, arguments: ArgumentCollection) -> str:
    """What stands under the help of a command: where else its options come from."""
    example = next(name for name in (one.name for one in options(arguments)) if name.startswith("--"))
    said = (
        f"Each option can also be set in the environment ({example} as {variable(command, example)}) or in a "
        f"TOML file: --config FILE, else charloom.toml where there is one, in its table [{command}]. "
        "The command line wins over the environment, and that over the file."
    )
    if has(arguments, "--address"):
        names = ", ".join(PREFIX + general(name) for name in GENERAL)
        said += f" For all commands that call a server there are also {names}."
    return said


def usage(command: str, arguments: ArgumentCollection) -> str:
    """How a command is called, first what it needs: a word behind a list would be one of its values."""
    needed = [labelled(one) for one in options(arguments) if one.required or one.index is not None]
    return " ".join(["Usage: charloom", command, *needed, "[OPTIONS]"])


def labelled(argument: Argument) -> str:
    """An argument in the line of usage: `TEXT`, `[FILES...]`, `--out PATH`."""
    if argument.index is None:
        return f"{argument.name} {argument.parameter.metavar or argument.hint.__name__.upper()}"
    label = argument.name + "..." * is_list(argument)
    return label if argument.required else f"[{label}]"


class RangeFormatter(DefaultFormatter):
    """Writes each option's text as one paragraph, and its range behind it."""

    def __init__(self, ranges: Mapping[str, str]) -> None:
        super().__init__()
        self._ranges = ranges

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Writes a panel of options."""
        entries = [self._extended(entry) for entry in panel.entries]
        super().__call__(console, options, panel.copy(entries=entries))

    def _extended(self, entry: HelpEntry) -> HelpEntry:
        text = str(entry.description.primary_renderable)
        description = InlineText(Text(" ".join(text.split())))  # a docstring has lines of its own
        for name in entry.all_options:
            if name in self._ranges:
                description.append(Text(f"[{self._ranges[name]}]", "cyclopts.choices"))
        return entry.copy(description=description)
