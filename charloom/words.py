"""The words of a command line: values that begin with a dash, put where the parser takes them for values.

The word behind an option that takes a text is its value, `--prompt "- 5 eggs"`, `--stop --`, unless it is an
option of the command itself. A dash elsewhere is the file of standard input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cyclopts import Argument, ArgumentCollection

from charloom.settings import holds_text, is_list, options
from charloom.text_file import STANDARD_INPUT

HELP = ("--help", "-h")


def wants_help(words: Sequence[str]) -> bool:
    """Whether the words of a command ask for its help."""
    ended = words.index("--") if "--" in words else len(words)
    return any(word in HELP for word in words[:ended])


@dataclass
class Values:
    """The values that an option still takes."""

    option: str
    several: bool
    taken: int = 0

    @property
    def open(self) -> bool:
        """Whether the next word may be one."""
        return self.several or not self.taken

    def takes(self, word: str) -> bool:
        """Whether a word that begins with a dash is one.

        The first may be anything. What looks like a long option behind it is rather one that is
        misspelt, and `--` ends the options.
        """
        return self.open and (not self.taken or not word.startswith("--"))


@dataclass
class CommandLine:
    """The options of a command, by which its words are told apart."""

    options: dict[str, Argument] = field(default_factory=dict)

    @classmethod
    def of(cls, arguments: ArgumentCollection) -> "CommandLine":
        """The options of a command's arguments."""
        return cls({name: one for one in options(arguments) for name in one.names if name.startswith("-")})

    def attached(self, words: Sequence[str]) -> list[str]:
        """The words, with each value that begins with a dash attached to its option: `--stop=--`."""
        out: list[str] = []
        values: Values | None = None
        for place, word in enumerate(words):
            if self.is_option(word):
                values = self._values(word)
                out.append(word)
            elif values and word.startswith("-") and values.takes(word):
                if not values.taken:
                    out.pop()
                out.append(f"{values.option}={word}")
                values.taken += 1
            elif word == "--":
                return [*out, *words[place:]]
            else:
                out.append(str(STANDARD_INPUT) if word == "-" else word)
                if values:
                    values.taken += 1
        return out

    def is_option(self, word: str) -> bool:
        """Whether a word is an option of the command, maybe with its value, as in `--n=3` and `-n3`."""
        name = word.partition("=")[0]
        return name in (*self.options, *HELP) or (word[:2] in self.options and word[2:].isdigit())

    def _values(self, word: str) -> Values | None:
        """The values that an option takes; None where the parser needs no help to find them."""
        name, attached, _ = word.partition("=")
        argument = self.options.get(name)
        if argument is None or not holds_text(argument.hint):
            return None
        return Values(name, is_list(argument) and bool(argument.parameter.consume_multiple), len(attached))
