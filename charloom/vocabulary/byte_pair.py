"""The vocabulary of byte pairs: strings of bytes that are frequent in a text, found by byte-level BPE.

The algorithm is that of Sennrich, Haddow and Birch 2016 ("Neural machine translation of rare words with
subword units") over bytes, as GPT-2 has it; the library `tokenizers` runs it. What is stored are the pairs
that are merged, in their order, as ids: a library loads nothing from it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from charloom.errors import CharloomError, how_to_install
from charloom.vocabulary.byte_level import ByteLevelVocabulary, utf8
from charloom.vocabulary.cuts import BEFORE_SPACES, Cutter
from charloom.vocabulary.single_bytes import SINGLE_BYTES
from charloom.vocabulary.special import NO_SPECIAL, SpecialTokens, VocabularyError
from charloom.vocabulary.vocabulary import Ids, id_type, no_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_BYTES = 64
"""Most bytes of a token."""
AHEAD = 64
"""Most blocks of a text that wait to be counted."""


class MissingTokenizersError(CharloomError):
    """The library `tokenizers` is not installed."""

    def __init__(self) -> None:
        super().__init__(f"tokens of byte pairs need the package tokenizers: {how_to_install('bpe')}")


class BytePairVocabulary(ByteLevelVocabulary):
    """The bytes, and strings of them that are made of pairs of tokens, as tokens."""

    kind: ClassVar[str] = "bpe"

    def __init__(self, merges: Sequence[tuple[int, int]], special: SpecialTokens = NO_SPECIAL) -> None:
        """Takes the pairs of tokens that are merged, in their order.

        Raises:
            VocabularyError: a pair has a token that none before it makes, or makes too long a one.
            MissingTokenizersError: the library is not installed.
        """
        require_tokenizers()
        self.merges = [*merges]
        super().__init__(merged_strings(merges), special)

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """What encodes a block of a text."""
        from tokenizers import models

        names = [name(string) for string in self.strings]
        merges = [(names[left], names[right]) for left, right in self.merges]
        return splitting(models.BPE({name: i for i, name in enumerate(names)}, merges))

    def encoder(self) -> "BytePairEncoder":
        """See Vocabulary."""
        return BytePairEncoder(self)

    def with_special(self, special: SpecialTokens) -> "BytePairVocabulary":
        """See Vocabulary."""
        return BytePairVocabulary(self.merges, special)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON can hold it."""
        merges = [list(pair) for pair in self.merges]
        return {"kind": self.kind, "merges": merges, **self.ids.special.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BytePairVocabulary":
        """Reads back what `to_json` made.

        Raises:
            VocabularyError: it is something else.
            MissingTokenizersError: the library is not installed.
        """
        match data:
            case {"kind": cls.kind, "merges": list(merges), **special}:
                if all(isinstance(pair, list) and [*map(type, pair)] == [int, int] for pair in merges):
                    return cls([(left, right) for left, right in merges], SpecialTokens.from_json(special))
        raise VocabularyError("not a vocabulary of byte pairs: expected pairs of ids under 'merges'")


class BytePairEncoder:
    """Encodes a text in pieces, block by block."""

    def __init__(self, vocabulary: BytePairVocabulary) -> None:
        self._tokenizer = vocabulary.tokenizer
        self._type = id_type(vocabulary)
        self._cutter = Cutter(BEFORE_SPACES)

    def put(self, piece: str) -> Ids:
        """See Encoder."""
        utf8(piece)
        return self._encoded(self._cutter.put(piece))

    def finish(self) -> Ids:
        """See Encoder."""
        return self._encoded(self._cutter.finish())

    def _encoded(self, blocks: Iterator[str]) -> Ids:
        ids = (np.array(self._tokenizer.encode(block).ids, np.int64) for block in blocks)
        return np.concatenate([no_tokens(), *ids]).astype(self._type)


class BytePairBuilder:
    """Learns from texts which pairs to merge, while they are read: the library pulls what it counts."""

    def __init__(self, size: int) -> None:
        """Begins with no text; the vocabulary will have so many ordinary tokens at the most.

        Raises:
            MissingTokenizersError: the library is not installed.
        """
        require_tokenizers()
        from tokenizers import models

        self._size = size
        self._cutter = Cutter(BEFORE_SPACES)
        self._tokenizer = splitting(models.BPE())
        self._queue: Queue[str | None] = Queue(AHEAD)
        self._error: BaseException | None = None
        self._learning = Thread(target=self._learn, daemon=True)

    def put(self, piece: str) -> None:
        """See VocabularyBuilder."""
        self._take(self._cutter.put(piece))

    def finish(self) -> None:
        """See VocabularyBuilder."""
        self._take(self._cutter.finish())

    def build(self, special: SpecialTokens = NO_SPECIAL) -> BytePairVocabulary:
        """See VocabularyBuilder."""
        self.finish()
        self._take(iter(()))
        self._queue.put(None)
        self._learning.join()
        if self._error is not None:
            raise self._error
        model = json.loads(self._tokenizer.to_str())["model"]
        ids = {string: i for i, string in enumerate(SINGLE_BYTES)}
        merges = []
        for left, right in model["merges"]:
            pair = string_of(left), string_of(right)
            merges.append((ids[pair[0]], ids[pair[1]]))
            ids.setdefault(pair[0] + pair[1], len(ids))
        return BytePairVocabulary(merges, special)

    def _take(self, blocks: Iterator[str]) -> None:
        """Hands blocks to the thread that counts them."""
        if self._learning.ident is None:
            self._learning.start()
        for block in blocks:
            self._queue.put(block)

    def _learn(self) -> None:
        from tokenizers import pre_tokenizers, trainers

        trainer = trainers.BpeTrainer(
            vocab_size=self._size,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=MAX_BYTES,
        )
        try:
            self._tokenizer.train_from_iterator(iter(self._queue.get, None), trainer)
        except BaseException as error:  # for `build` to raise; until then whoever reads must not wait
            self._error = error
            while self._queue.get() is not None:
                pass


def require_tokenizers() -> None:
    """Raises MissingTokenizersError unless the library is installed."""
    try:
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise MissingTokenizersError from error


def splitting(model: Any) -> "Tokenizer":
    """Returns a tokenizer that merges pairs within words as GPT-2 splits them, and never across a newline."""
    from tokenizers import Tokenizer, pre_tokenizers

    tokenizer = Tokenizer(model)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "isolated"), words])
    return tokenizer


def merged_strings(merges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Returns the bytes of each token: those of the pairs come after the single bytes.

    Raises:
        VocabularyError: a pair has a token that none before it makes, or makes too long a one.
    """
    ids = {string: i for i, string in enumerate(SINGLE_BYTES)}
    strings = [*SINGLE_BYTES]
    for left, right in merges:
        if not (0 <= left < len(strings) and 0 <= right < len(strings)):
            raise VocabularyError(f"the pair {left}, {right} has a token that is made of none before it")
        string = strings[left] + strings[right]
        if len(string) > MAX_BYTES:
            raise VocabularyError(f"a token has more than {MAX_BYTES} bytes")
        if string not in ids:
            ids[string] = len(strings)
            strings.append(string)
    return strings


def printable_bytes() -> list[int]:
    """Returns the bytes that stand for themselves where the library names tokens, as in GPT-2."""
    return [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]


@cache
def byte_names() -> list[str]:
    """Returns the character by which the library names each byte [256]."""
    plain = set(printable_bytes())
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def name(string: bytes) -> str:
    """Returns the library's name of a string of bytes."""
    names = byte_names()
    return "".join(names[byte] for byte in string)


def string_of(name: str) -> bytes:
    """Returns the bytes that the library names so."""
    values = {character: byte for byte, character in enumerate(byte_names())}
    return bytes(values[character] for character in name)
