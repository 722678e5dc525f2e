"""Vocabularies: between a text and the token ids that a model reads and writes."""

from charloom.vocabulary.builders import vocabulary_builder
from charloom.vocabulary.byte_pair import BytePairBuilder, BytePairVocabulary, MissingTokenizersError
from charloom.vocabulary.character import CharacterBuilder, CharacterVocabulary
from charloom.vocabulary.lower_words import LowerWordVocabulary
from charloom.vocabulary.pattern import SMILES, PatternVocabulary
from charloom.vocabulary.registry import VOCABULARIES, VocabularyKinds, read_vocabulary
from charloom.vocabulary.single_bytes import ByteVocabulary
from charloom.vocabulary.special import (
    NO_SPECIAL,
    LabelColumn,
    LabelError,
    SpecialTokens,
    TokenIds,
    VocabularyError,
)
from charloom.vocabulary.vocabulary import (
    CONTEXT,
    Decoder,
    Encoder,
    Ids,
    Tokens,
    UnknownCharacterError,
    Vocabulary,
    VocabularyBuilder,
    digest,
    id_type,
    no_tokens,
)
from charloom.vocabulary.words import WordVocabulary

__all__ = [
    "CONTEXT",
    "NO_SPECIAL",
    "SMILES",
    "VOCABULARIES",
    "BytePairBuilder",
    "BytePairVocabulary",
    "ByteVocabulary",
    "CharacterBuilder",
    "CharacterVocabulary",
    "Decoder",
    "Encoder",
    "Ids",
    "LabelColumn",
    "LabelError",
    "LowerWordVocabulary",
    "MissingTokenizersError",
    "PatternVocabulary",
    "SpecialTokens",
    "TokenIds",
    "Tokens",
    "UnknownCharacterError",
    "Vocabulary",
    "VocabularyBuilder",
    "VocabularyError",
    "VocabularyKinds",
    "WordVocabulary",
    "digest",
    "id_type",
    "no_tokens",
    "read_vocabulary",
    "vocabulary_builder",
]
