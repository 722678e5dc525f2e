"""Ranges: what values an option may have, as its annotation says, checked wherever its dataclass is made.

    @dataclass(frozen=True)
    class BatchConfig:
        batch: Annotated[int, Meta(ge=1)] = 32

        def __post_init__(self) -> None:
            check_ranges(self)

The markers are msgspec's. Inside a tuple's brackets a range holds for each element, outside them for
their number; a `Literal` is a range too.
"""

import math
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

from charloom.errors import ConfigError

FINITE = sys.float_info.max
"""The largest number that is not infinite, for `Meta(le=FINITE)`."""

Check = Callable[[Any], str | None]
"""Gives what is wrong with a value, such as "must be at least 1, not 0"; None if nothing is."""


def check_ranges(config: Any) -> None:
    """Checks every field of a dataclass.

    Raises:
        ConfigError: a value is out of its range; it names the field, the range and the value.
    """
    for name, reason in out_of_range(config):
        raise ConfigError(name, reason)


def check_arguments(function: Callable[..., Any], **values: Any) -> None:
    """Checks arguments of a function against the ranges in its annotations.

    Raises:
        ConfigError: a value is out of its range; it names the argument, the range and the value.
    """
    for name, check in checks(function):
        if name in values and (reason := check(values[name])):
            raise ConfigError(name, reason)


def out_of_range(config: Any) -> Iterator[tuple[str, str]]:
    """Every field of a dataclass whose value is out of its range, and what is wrong with it."""
    for name, check in checks(type(config)):  # type: ignore[arg-type]  # mypy: classes are hashable
        if reason := check(getattr(config, name)):
            yield name, reason


@cache
def checks(owner: type[Any] | Callable[..., Any]) -> tuple[tuple[str, Check], ...]:
    """The fields of a dataclass, or arguments of a function, that have a range, and their checks."""
    hints = get_type_hints(owner, include_extras=True)
    found = ((name, check_of(hint)) for name, hint in hints.items())
    return tuple((name, check) for name, check in found if check is not None)


def check_of(hint: Any) -> Check | None:
    """The check of a type hint; None if any value will do."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        wanted = f"must be one of {', '.join(map(str, arguments))}"
        return lambda value: None if value in arguments else f"{wanted}, not {shown(value)}"
    if origin is tuple and arguments[-1] is ...:
        return all_of(check_of(arguments[0]))
    if origin in (Union, UnionType) and NoneType in arguments:
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        inner = check_of(kind)
        return inner and (lambda value: None if value is None else inner(value))
    if origin is Annotated:
        marks = [mark for mark in arguments[1:] if isinstance(mark, Meta)]
        found = [check for check in (*map(check_of_mark, marks), check_of(arguments[0])) if check]
        return first_of(found) if found else None
    return None


def check_of_mark(mark: Meta) -> Check:
    """The check of one marker."""
    if mark.min_length is not None or mark.max_length is not None:
        return lambda value: wrong_length(mark.min_length or 0, mark.max_length, value)
    wanted = words(mark)
    return lambda value: None if holds(mark, value) else f"must be {wanted}, not {shown(value)}"


def holds(mark: Meta, value: float) -> bool:
    """Whether a number is in a range; a NaN is in none."""
    return (
        (mark.ge is None or value >= mark.ge)
        and (mark.gt is None or value > mark.gt)
        and (mark.le is None or value <= mark.le)
        and (mark.lt is None or value < mark.lt)
    )


def wrong_length(fewest: int, most: int | None, value: Any) -> str | None:
    """What is wrong with the length of a text or a tuple; one that is too long may have been cut before."""
    if len(value) >= fewest and (most is None or len(value) <= most):
        return None
    of = "characters" if isinstance(value, str) else "values"
    return f"must have {span(fewest, most)} {of}, not {len(value) if len(value) < fewest else 'more'}"


def first_of(found: list[Check]) -> Check:
    """A check that gives what the first of several finds."""
    return lambda value: next((reason for check in found if (reason := check(value))), None)


def all_of(check: Check | None) -> Check | None:
    """A check of every element."""
    return check and (lambda values: next((reason for value in values if (reason := check(value))), None))


def ranges_of(hint: Any) -> Iterator[str]:
    """The ranges in a type hint in words, as a help text says them: "1 to 64"."""
    if get_origin(hint) is Annotated:
        for mark in get_args(hint)[1:]:
            if isinstance(mark, Meta) and mark.min_length is None and mark.max_length is None:
                yield words(mark)
    for argument in get_args(hint) if get_origin(hint) is not Literal else ():
        yield from ranges_of(argument)


def words(mark: Meta) -> str:
    """The range of numbers of a marker: "1 to 64", "at least 0", "above 0 and at most 1"."""
    if mark.ge is not None and mark.le is not None and mark.le != FINITE:
        return span(mark.ge, mark.le)
    bounds = [
        "" if mark.ge is None else f"at least {shown(mark.ge)}",
        "" if mark.gt is None else f"above {shown(mark.gt)}",
        "" if mark.le is None else "finite" if mark.le == FINITE else f"at most {shown(mark.le)}",
        "" if mark.lt is None else f"below {shown(mark.lt)}",
    ]
    return " and ".join(filter(None, bounds))


def span(low: float, high: float | None) -> str:
    """From a number to another one."""
    return f"at least {shown(low)}" if high is None else f"{shown(low)} to {shown(high)}"


def shown(value: Any) -> str:
    """A value in a message; powers of two that are large, or small, are written as such."""
    if isinstance(value, float):
        half, exponent = math.frexp(value)
        return f"2**{exponent - 1}" if half == 0.5 and exponent < -3 else f"{value:g}"
    if not isinstance(value, int):
        return repr(value)
    for less in (0, 1):
        if value >= 2**24 and (value + less).bit_count() == 1:
            return f"2**{(value + less).bit_length() - 1}{' - 1' * less}"
    return str(value)
