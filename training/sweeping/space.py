"""The space of a sweep: which options vary, and between what.

cells=128,256,512               one of these
dropout=0..0.5                  anything between the two
learning-rate=1e-4..1e-2:log    the same, each order of magnitude as likely as the next
cells=64..512:64                in steps
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from charloom.errors import ConfigError, require
from training.options import Options

Value = bool | int | float | str

HELD = ("records", "tokens", "corpus", "hardware", "preview", "report", "run_log")
"""Groups whose options cannot vary: with another validation text, or other tokens, losses could not be
compared, and the others do not change the model."""

HELD_TOO = ("max_minutes", "evaluate_every", "patience", "save_minutes", "keep")
"""Options of other groups that cannot vary: they say how long a trial takes, and what is kept of it."""


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    whole: bool
    """Integers only."""
    log: bool = False
    step: float | None = None
    """Distance between two values; None: 1 for integers, none for other numbers."""


Variation = Choice | Range


@dataclass(frozen=True)
class Option:
    """An option that can vary."""

    group: str
    """Its group's name in `Options`."""
    config: type
    """The dataclass of the group."""
    kind: Any
    """Its type: int, float, bool, or a Literal of words."""


@dataclass(frozen=True)
class Space:
    """The options that vary, by their names on the command line."""

    variations: Mapping[str, Variation]
    texts: Mapping[str, str]
    """The values of each, as the user wrote them."""

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Space":
        """Reads texts of the form OPTION=VALUES.

        Raises:
            ConfigError: an option is unknown or cannot vary, or does not take such a value.
        """
        known = variable()
        require(bool(texts), "vary", f"is missing: say what varies, as in cells=128,256; {listing(known)}")
        written: dict[str, str] = {}
        for text in texts:
            name, equals, values = (part.strip() for part in text.partition("="))
            name = name.removeprefix("--").replace("_", "-")
            require(bool(equals and values), "vary", f"{text!r} is not OPTION=VALUES, as in cells=128,256")
            require(name in known, "vary", f"{name} is no option that can vary; {listing(known)}")
            require(name not in written, "vary", f"names {name} twice")
            written[name] = values
        return cls({name: variation(name, known[name], values) for name, values in written.items()}, written)

    def options(self, base: Options, values: Mapping[str, Value]) -> Options:
        """The options of a run with some values, by their names on the command line.

        Raises:
            ConfigError: a value cannot be used.
        """
        return changed(base, {name.replace("-", "_"): value for name, value in values.items()})


def changed(base: Options, values: Mapping[str, Any]) -> Options:
    """A copy of options with some values changed, by field name.

    Raises:
        ConfigError: a value cannot be used.
    """
    groups = {}
    left = dict(values)
    for group in asdict(base):
        config = getattr(base, group)
        mine = {name: left.pop(name) for name in vars(config) if name in left}
        groups[group] = replace(config, **mine)
    assert not left, f"there are no options {sorted(left)}"
    return replace(base, **groups)


def variable() -> dict[str, Option]:
    """Every option that can vary, by its name on the command line."""
    found = {}
    for group, config in get_type_hints(Options).items():
        if group in HELD:
            continue
        for name, hint in get_type_hints(config).items():
            kind = type_of(hint)
            if name not in HELD_TOO and (kind in (int, float, bool) or get_origin(kind) is Literal):
                found[name.replace("_", "-")] = Option(group, config, kind)
    return found


def type_of(hint: Any) -> Any:
    """The type of an option's values, without the None of one that may be absent."""
    others = [kind for kind in get_args(hint) if kind is not NoneType]
    return others[0] if get_origin(hint) in (Union, UnionType) and len(others) == 1 else hint


def listing(known: Mapping[str, Option]) -> str:
    """The options that can vary, in words."""
    return f"these can: {', '.join(sorted(known))}"


def variation(name: str, option: Option, text: str) -> Variation:
    """Reads the values of one option; each value and both ends of a range are checked against the option."""
    low, dots, rest = text.partition("..")
    if not dots:
        values = tuple(value(name, option, word.strip()) for word in text.split(","))
        require(len(set(values)) == len(values), "vary", f"{name}={text} has a value twice")
        return Choice(values)
    require(option.kind in (int, float), "vary", f"{name}={text}: a range needs numbers; list values instead")
    high, colon, how = (part.strip() for part in rest.partition(":"))
    require(bool(how) or not colon, "vary", f"{name}={text}: after the colon comes log or a step")
    first, last = (float(value(name, option, end.strip())) for end in (low, high))
    require(first < last, "vary", f"{name}={text}: a range goes from a lower number to a higher one")
    if how == "log":
        require(first > 0, "vary", f"{name}={text}: a range by orders of magnitude begins above 0")
        return Range(first, last, option.kind is int, log=True)
    if not how:
        return Range(first, last, option.kind is int)
    step = number(option.kind, how)
    require(step is not None and 0 < step <= last - first, "vary", f"{name}={text}: {how} is no step of it")
    assert step is not None
    steps = math.floor((last - first) / step + 1e-9)
    return Range(first, round(first + steps * step, 12), option.kind is int, step=float(step))


def value(name: str, option: Option, word: str) -> Value:
    """Reads one value of an option, checked by the option's own dataclass."""
    if option.kind in (int, float):
        read: Value | None = number(option.kind, word)
    elif option.kind is bool:
        read = {"true": True, "false": False}.get(word.lower())
    else:
        read = word if word in get_args(option.kind) else None
    if read is None:
        raise ConfigError("vary", f"{name}: {word!r} is no value of it, which must be {words(option.kind)}")
    try:
        option.config(**{name.replace("-", "_"): read})
    except ConfigError as error:
        raise ConfigError("vary", f"{name}: {word} cannot be used: {error}") from error
    return read


def number(kind: Any, word: str) -> int | float | None:
    """Reads a finite number; None if it is none."""
    try:
        read: int | float = kind(word)
    except ValueError:
        return None
    return read if math.isfinite(read) else None


def words(kind: Any) -> str:
    """The values that a kind has, in words."""
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        return "an integer" if kind is int else "a number"
    return f"one of {', '.join(get_args(kind))}"
