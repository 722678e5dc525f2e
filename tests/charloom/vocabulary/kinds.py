"""A vocabulary of each kind, made of one small text, for tests."""

from charloom.tokens_config import TokensConfig
from charloom.vocabulary import NO_SPECIAL, SpecialTokens, Vocabulary, vocabulary_builder

TEXT = (
    "The cat didn't sit; the café was closed (at 3.5 p.m.).\n\n"
    "  “Naïve,” she said -- twice!\tC1CC[C@@H](Br)%12Cl[nH]1\n"
    "हिन्दी में 你好 👩‍🚀 e\u0301\n" * 2
)
CONFIGS = {
    "characters": TokensConfig(),
    "words": TokensConfig("words"),
    "lower-words": TokensConfig("lower-words"),
    "smiles": TokensConfig("smiles"),
    "regex": TokensConfig("regex", token_pattern=r"[a-z]+| ?[A-Z]\w*|\s{2,}|^-|ab?|.$|\b"),
    "bpe": TokensConfig("bpe", vocabulary_size=300),
    "bytes": TokensConfig("bytes"),
}
KEEPING = [name for name in CONFIGS if name != "lower-words"]
"""Those that keep their text."""


def made(name: str, text: str = TEXT, special: SpecialTokens = NO_SPECIAL) -> Vocabulary:
    """The vocabulary of a text."""
    builder = vocabulary_builder(CONFIGS[name])
    builder.put(text)
    return builder.build(special)


VOCABULARIES = {name: made(name) for name in CONFIGS}
