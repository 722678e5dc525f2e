"""The labels of a command: `--label NAME=VALUE`, or VALUE alone, for each label of the model's records."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter

from charloom.options import InvalidRequestError, Violation

LabelWords = Annotated[
    tuple[str, ...], Parameter(name="--label", consume_multiple=False, metavar="NAME=VALUE|VALUE")
]


def chosen_labels(words: Sequence[str], columns: Callable[[], Mapping[str, Sequence[str]]]) -> list[str]:
    """Returns the value of each of a model's labels, in their order; none if no word says any.

    Args:
        words: what the command line says; a value without a name is that of the next label that none names.
        columns: gives the values that each of the model's labels can have.

    Raises:
        InvalidRequestError: a label has no value or two, or the words name none of the model's.
    """
    if not words:
        return []
    known = columns()
    found: dict[str, str] = {}
    unnamed = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            unnamed.append(word)
        elif name in found:
            raise InvalidRequestError([Violation("label", f"names {name} twice")])
        else:
            found[name] = value
    left = [name for name in known if name not in found]
    if len(unnamed) != len(left):
        listed = "; ".join(f"{name}: {listing(values)}" for name, values in known.items())
        takes = (
            f"one value for each of the model's labels ({listed})"
            if known
            else "none: the model has no labels"
        )
        raise InvalidRequestError([Violation("label", f"must be {takes}, not {' '.join(words)}")])
    found |= zip(left, unnamed, strict=True)
    return [found[name] for name in known]


def listing(values: Sequence[str], most: int = 10) -> str:
    """Lists values, or the first of very many."""
    return ", ".join(values[:most]) + (", …" if len(values) > most else "")
