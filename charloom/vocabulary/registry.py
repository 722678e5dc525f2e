"""The kinds of vocabulary that can be read back from JSON; nothing is ever loaded from a stored one."""

from collections.abc import Callable, Mapping
from typing import Any

from charloom.vocabulary.byte_pair import BytePairVocabulary
from charloom.vocabulary.character import CharacterVocabulary
from charloom.vocabulary.lower_words import LowerWordVocabulary
from charloom.vocabulary.pattern import PatternVocabulary
from charloom.vocabulary.single_bytes import ByteVocabulary
from charloom.vocabulary.special import VocabularyError
from charloom.vocabulary.vocabulary import Vocabulary
from charloom.vocabulary.words import WordVocabulary

VocabularyKinds = Mapping[str, Callable[[Mapping[str, Any]], Vocabulary]]
"""What reads a vocabulary of each kind; it raises VocabularyError for a malformed one."""

VOCABULARIES: VocabularyKinds = {
    CharacterVocabulary.kind: CharacterVocabulary.from_json,
    WordVocabulary.kind: WordVocabulary.from_json,
    LowerWordVocabulary.kind: LowerWordVocabulary.from_json,
    PatternVocabulary.kind: PatternVocabulary.from_json,
    BytePairVocabulary.kind: BytePairVocabulary.from_json,
    ByteVocabulary.kind: ByteVocabulary.from_json,
}
"""Those that Charloom has."""


def read_vocabulary(data: object, kinds: VocabularyKinds = VOCABULARIES) -> Vocabulary:
    """Reads back what `Vocabulary.to_json` made.

    Raises:
        VocabularyError: it is something else, or of an unknown kind.
        MissingTokenizersError: it is of byte pairs, whose library is not installed.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(kind, str):
        raise VocabularyError("not a vocabulary: expected an object with its 'kind'")
    if kind not in kinds:
        raise VocabularyError(f"unknown kind of vocabulary {kind!r}; a newer Charloom may read it")
    return kinds[kind](data)
