"""The vocabulary of a regular expression: what it matches is a token, all else goes character by character.

A match that the vocabulary lacks goes character by character too. The expression is Google's RE2, which takes
linear time whatever a text is, and sees one line of the text at a time, without its newline.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from charloom.vocabulary.cuts import AFTER_LINES
from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens, VocabularyError
from charloom.vocabulary.table import TableBuilder, TableVocabulary, most_frequent
from charloom.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import re2

SMILES = r"\[[^\]]*\]|%\d\d|Br|Cl"
"""Splits SMILES as REINVENT4 does (github.com/MolecularAI/REINVENT4): atoms in brackets, two-digit ring
closures, bromine and chlorine; all else is single characters."""
MAX_PATTERN = 4096
"""Most characters of an expression."""
AROUND = ("", "a", " ")
"""What an expression can tell apart beside a match: the end of the line, a letter of a word, and others."""
SINGLE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")
r"""Matches where an expression has `\C`, which cuts characters."""


class PatternVocabulary(TableVocabulary):
    """The matches of a regular expression, and single characters, as tokens."""

    kind: ClassVar[str] = "regex"
    cuts = AFTER_LINES

    def __init__(self, texts: Iterable[str], pattern: str, special: SpecialTokens = NO_SPECIAL) -> None:
        """Takes the tokens in the order of their ids, the expression, and the special tokens.

        Raises:
            VocabularyError: the expression is none.
        """
        self.pattern = pattern
        self._compiled = compiled(pattern)
        super().__init__(texts, special)

    def split(self, block: str) -> list[str]:
        """See TableVocabulary."""
        known = self._ids
        pieces: list[str] = []
        for piece in split_matches(block, self._compiled):
            if len(piece) == 1 or piece in known:
                pieces.append(piece)
            else:
                pieces.extend(piece)
        return pieces

    def extended(self, other: Vocabulary) -> Vocabulary:
        """See Vocabulary."""
        assert isinstance(other, PatternVocabulary), "both are of one kind"
        if other.pattern != self.pattern:
            raise VocabularyError(
                f"the model's tokens are matches of {self.pattern!r}, those of the text of {other.pattern!r}"
            )
        return super().extended(other)

    def can_be_token(self, text: str) -> bool:
        """Whether it is a character, or a match at an end of a line, beside a letter or a space."""
        return len(text) == 1 or any(
            text in split_matches(left + text + right, self._compiled)
            for left, right in product(AROUND, repeat=2)
        )

    def of(self, texts: list[str], special: SpecialTokens) -> "PatternVocabulary":
        """See TableVocabulary."""
        return PatternVocabulary(texts, self.pattern, special)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""
        return super().to_json() | {"pattern": self.pattern}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PatternVocabulary":
        """Reads back what `to_json` made.

        Raises:
            VocabularyError: it is something else.
        """
        match data:
            case {"kind": cls.kind, "tokens": list(texts), "pattern": str(pattern), **special}:
                return cls(texts, pattern, SpecialTokens.from_json(special))
        raise VocabularyError("not a vocabulary of a regular expression: expected 'tokens' and 'pattern'")


@cache
def compiled(pattern: str) -> "re2._Regexp[bytes]":
    """Returns an expression, over UTF-8.

    Raises:
        VocabularyError: it is none, or is one that cuts characters.
    """
    import re2

    if len(pattern) > MAX_PATTERN:
        raise VocabularyError(f"the regular expression is longer than {MAX_PATTERN:,} characters")
    if SINGLE_BYTE.search(pattern):
        raise VocabularyError(r"\C in a regular expression cuts characters")
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        named = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(error)
        raise VocabularyError(f"not a regular expression of RE2: {named}") from error


def split_matches(block: str, pattern: "re2._Regexp[bytes]") -> list[str]:
    """Splits a block into the matches of an expression and the characters between them.

    Each line is looked at by itself. What matches nothing, between two characters, is none.
    """
    pieces: list[str] = []
    for number, line in enumerate(block.split("\n")):
        if number:
            pieces.append("\n")
        if not line:
            continue
        data = line.encode("utf-8", "surrogatepass")
        end = 0
        for found in pattern.finditer(data):
            begin, stop = found.span()
            if begin < stop:
                pieces.extend(text_of(data[end:begin]))
                pieces.append(text_of(data[begin:stop]))
                end = stop
        pieces.extend(text_of(data[end:]))
    return pieces


def text_of(data: bytes) -> str:
    """Returns the text of whole characters, lone surrogates among them."""
    return data.decode("utf-8", "surrogatepass")


def pattern_builder(pattern: str, min_count: int, most: int | None) -> TableBuilder:
    """Returns what makes a vocabulary of an expression's matches, and of all characters of a text.

    Both are left out if they are rarer than `min_count`. Of `most` tokens, the characters come first.
    """
    expression = compiled(pattern)

    def make(counts: Counter[str], special: SpecialTokens) -> PatternVocabulary:
        characters: Counter[str] = Counter()
        for piece, count in counts.items():
            for character in piece:
                characters[character] += count
        singles = most_frequent(characters, min_count, most)
        left = None if most is None else most - len(singles)
        longer = {piece: count for piece, count in counts.items() if len(piece) > 1}
        texts = [*singles, *most_frequent(longer, min_count, left)]
        return PatternVocabulary(texts, pattern, replace(special, unknown=len(singles) < len(characters)))

    return TableBuilder(lambda block: split_matches(block, expression), AFTER_LINES, make)
