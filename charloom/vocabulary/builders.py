"""The builders of vocabularies: what makes the tokens that an option names of a text."""

from collections.abc import Callable, Mapping

from charloom.tokens_config import TokenKind, TokensConfig
from charloom.vocabulary.byte_pair import BytePairBuilder
from charloom.vocabulary.character import CharacterBuilder
from charloom.vocabulary.lower_words import lower_word_builder
from charloom.vocabulary.pattern import SMILES, pattern_builder
from charloom.vocabulary.single_bytes import ByteBuilder
from charloom.vocabulary.vocabulary import VocabularyBuilder
from charloom.vocabulary.words import word_builder

WORDS = 10_000
"""Words that a vocabulary has if nothing else is said; as many as textgenrnn's."""
BYTE_PAIRS = 1024
"""Tokens that a vocabulary of byte pairs has if nothing else is said."""


def vocabulary_builder(config: TokensConfig) -> VocabularyBuilder:
    """Returns what makes the vocabulary of a text.

    Raises:
        MissingTokenizersError: it is one of byte pairs, whose library is not installed.
    """
    size, rare = config.vocabulary_size, config.min_count
    builders: Mapping[TokenKind, Callable[[], VocabularyBuilder]] = {
        "characters": lambda: CharacterBuilder(rare),
        "words": lambda: word_builder(rare, size or WORDS),
        "lower-words": lambda: lower_word_builder(rare, size or WORDS),
        "smiles": lambda: pattern_builder(SMILES, rare, size),
        "regex": lambda: pattern_builder(config.token_pattern or "", rare, size),
        "bpe": lambda: BytePairBuilder(size or BYTE_PAIRS),
        "bytes": ByteBuilder,
    }
    return builders[config.tokens]()
