"""The options of tokens: what the tokens of a new model are, and how many of them there can be."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from charloom.errors import ConfigError, require
from charloom.ranges import check_ranges

VocabularyOrigin = Literal["union", "old", "new"]
TokenKind = Literal["characters", "words", "lower-words", "smiles", "regex", "bpe", "bytes"]
FEWEST_BYTE_PAIRS = 257
"""The bytes and one pair."""


@dataclass(frozen=True)
class TokensConfig:
    """What the tokens of a model are."""

    tokens: TokenKind = "characters"
    """What a token is: a character, a word with the space before it, a word in lower case or a sign, a match
    of the regular expression for SMILES or of `--token-pattern`, a string of frequent bytes, or a byte."""
    token_pattern: str | None = None
    """Regular expression (RE2) of `--tokens regex`; what it does not match goes character by character."""
    vocabulary_size: Annotated[int, Meta(ge=1)] | None = None
    """Different tokens at the most, the most frequent ones: of words (10,000 if it is left open), byte pairs
    (1,024) and regular expressions (all)."""
    min_count: Annotated[int, Meta(ge=1)] = 1
    """Times that a token occurs in the text, at the least, to be learnt; rarer ones become the unknown
    token, which is never generated, and scored as what it stands for. Bytes and byte pairs lack nothing."""

    vocabulary: VocabularyOrigin = "union"
    """Tokens of a model that begins with --init-from: those of that model and of the text, union, of that
    model alone, old, or of the text alone, new."""

    def __post_init__(self) -> None:
        check_ranges(self)
        kind = self.tokens
        if kind == "regex":
            require(self.token_pattern is not None, "token_pattern", "is missing: tokens regex needs it")
        if self.token_pattern is not None:
            from charloom.vocabulary import VocabularyError  # brings numpy, for which `--help` need not wait
            from charloom.vocabulary.pattern import compiled

            require(kind == "regex", "token_pattern", f"is for tokens regex, not {kind}")
            try:
                compiled(self.token_pattern)
            except VocabularyError as error:
                raise ConfigError("token_pattern", f"cannot be used: {error}") from error
        size = self.vocabulary_size
        require(
            size is None or kind not in ("characters", "bytes"),
            "vocabulary_size",
            f"cannot bound tokens {kind}: it is for words, byte pairs and regular expressions",
        )
        require(
            size is None or kind != "bpe" or size >= FEWEST_BYTE_PAIRS,
            "vocabulary_size",
            f"must be at least {FEWEST_BYTE_PAIRS} with tokens bpe: all bytes are among them",
        )
        require(
            self.min_count == 1 or kind not in ("bpe", "bytes"),
            "min_count",
            f"must be 1 with tokens {kind}, which lack nothing",
        )
