"""Vocabularies: between a text and the token ids that a model reads and writes."""

from charloom.vocabulary.character import CharacterBuilder, CharacterVocabulary
from charloom.vocabulary.registry import VOCABULARIES, VocabularyKinds, read_vocabulary
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

__all__ = [
    "CONTEXT",
    "NO_SPECIAL",
    "VOCABULARIES",
    "CharacterBuilder",
    "CharacterVocabulary",
    "Decoder",
    "Encoder",
    "Ids",
    "LabelColumn",
    "LabelError",
    "SpecialTokens",
    "TokenIds",
    "Tokens",
    "UnknownCharacterError",
    "Vocabulary",
    "VocabularyBuilder",
    "VocabularyError",
    "VocabularyKinds",
    "digest",
    "id_type",
    "no_tokens",
    "read_vocabulary",
]
