"""Special tokens: those of a model that are no part of any text, and the ids that they have.

They follow the N ordinary tokens: the end of a record, the unknown token (both only where a vocabulary has
them), the start token, and a token for each value of each label. The first two have scores; the others are
only fed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from charloom.errors import CharloomError


class VocabularyError(CharloomError, ValueError):
    """A stored vocabulary is malformed, or of an unknown kind."""


class LabelError(CharloomError, ValueError):
    """A model has no such label, or needs one."""

    exit_code = 2


class LabelColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A label of records, such as a genre, and the values that it can have."""

    name: str
    values: tuple[str, ...]


class SpecialTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which special tokens a vocabulary has beside the start token."""

    end: bool = False
    """Whether texts end: a token follows the last one of a text."""
    unknown: bool = False
    """Whether a token stands for all that the vocabulary lacks. It is fed and scored, and never sampled."""
    labels: tuple[LabelColumn, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of a vocabulary's JSON that say so: none if there is nothing to say."""
        return dict(msgspec.to_builtins(self))

    def joined(self, other: "SpecialTokens") -> "SpecialTokens":
        """Returns the special tokens of both, for texts that have the labels of `other`.

        The columns of labels come in the order of `other`; of each, these values are first.

        Raises:
            LabelError: `other` lacks a label, so its texts could not be read with these.
        """
        ours = {column.name: column.values for column in self.labels}
        missing = sorted(set(ours) - {column.name for column in other.labels})
        if missing:
            raise LabelError(f"no label {', '.join(map(repr, missing))}")
        labels = tuple(
            LabelColumn(column.name, tuple(dict.fromkeys((*ours.get(column.name, ()), *column.values))))
            for column in other.labels
        )
        return SpecialTokens(self.end or other.end, self.unknown or other.unknown, labels)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SpecialTokens":
        """Reads what `to_json` made; `data` has no other fields.

        Raises:
            VocabularyError: it is something else.
        """
        try:
            special = msgspec.convert(dict(data), cls)
        except msgspec.ValidationError as error:
            raise VocabularyError(f"malformed special tokens: {error}") from error
        for column in special.labels:
            if not column.values or len(set(column.values)) < len(column.values):
                raise VocabularyError(f"the label {column.name!r} has no values, or one of them twice")
        if len({column.name for column in special.labels}) < len(special.labels):
            raise VocabularyError("two labels have one name")
        return special


NO_SPECIAL = SpecialTokens()
"""Only the start token, which every vocabulary has."""


@dataclass(frozen=True)
class TokenIds:
    """The ids of all tokens of a vocabulary."""

    ordinary: int
    """N: how many tokens are parts of texts; theirs are the first ids."""
    special: SpecialTokens = NO_SPECIAL

    @property
    def end(self) -> int | None:
        """The token that ends a record; None in a vocabulary of texts without an end."""
        return self.ordinary if self.special.end else None

    @property
    def unknown(self) -> int | None:
        """The token that stands for all that the vocabulary lacks, if there is one."""
        return self.ordinary + self.special.end if self.special.unknown else None

    @cached_property
    def size(self) -> int:
        """V: how many tokens have a score."""
        return self.ordinary + self.special.end + self.special.unknown

    @property
    def start(self) -> int:
        """The token that a fresh stream feeds first."""
        return self.size

    @cached_property
    def inputs(self) -> int:
        """How many tokens can be fed: V, the start token, and those of the labels."""
        return self.size + 1 + sum(len(column.values) for column in self.special.labels)

    @property
    def scored(self) -> Sequence[tuple[str, ...]]:
        """What identifies each special token that has a score, in the order of their ids."""
        return [(name,) for name in ("end", "unknown") if getattr(self.special, name)]

    @property
    def fed(self) -> Sequence[tuple[str, ...]]:
        """What identifies each token that is only fed, in the order of their ids."""
        labels = ((column.name, value) for column in self.special.labels for value in column.values)
        return [("start",), *labels]

    def name(self, token: int) -> str:
        """Returns the name of a special token, for people, such as <end>."""
        return f"<{[*self.scored, *self.fed][token - self.ordinary][-1]}>"

    @cached_property
    def _label_ids(self) -> list[dict[str, int]]:
        """The tokens of the values of each label."""
        following = self.start + 1
        ids = []
        for column in self.special.labels:
            ids.append({value: following + place for place, value in enumerate(column.values)})
            following += len(column.values)
        return ids

    def label_ids(self, labels: Sequence[str]) -> list[int]:
        """Returns the tokens of a record's labels, one value for each.

        Raises:
            LabelError: a value is none that the model knows, or there are too few or too many.
        """
        columns = self.special.labels
        if len(labels) != len(columns):
            names = "; ".join(f"{column.name}: {named(column)}" for column in columns)
            count = "1 label" if len(columns) == 1 else f"{len(columns)} labels"
            needs = f"{count} ({names})" if columns else "no labels"
            raise LabelError(f"the model takes {needs}, not {len(labels)}")
        for column, label, ids in zip(columns, labels, self._label_ids, strict=True):
            if label not in ids:
                raise LabelError(f"{column.name} {label!r} is none that the model knows: {named(column)}")
        return [ids[label] for label, ids in zip(labels, self._label_ids, strict=True)]

    def are_labels(self, tokens: Sequence[int]) -> bool:
        """Returns whether tokens are the labels of a record, one of each column."""
        columns = [set(ids.values()) for ids in self._label_ids]
        return len(tokens) == len(columns) and all(map(set.__contains__, columns, tokens))


def named(column: LabelColumn, most: int = 10) -> str:
    """Names the values of a label, or the first of very many."""
    listed = ", ".join(map(repr, column.values[:most]))
    more = len(column.values) - most
    return f"{listed} and {more:,} more" if more > 0 else listed
