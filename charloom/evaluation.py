"""Evaluations: the part of a text that is measured, and what a model made of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from charloom.evaluation_config import EvaluationConfig, EvaluationError, Part
from charloom.evaluation_lanes import PRIME
from charloom.score import bits_per_character, perplexity
from charloom.vocabulary import Tokens, UnknownCharacterError, Vocabulary


@dataclass(frozen=True)
class Measured:
    """A text, or the part of it that is to be measured, as a model reads it."""

    text: str
    """Its name."""
    part: Part
    tokens: Tokens
    """At least one."""
    characters: int
    """Characters of the text that the tokens make."""
    skipped: int
    """Characters that the model does not know, which do not count."""
    seen: bool
    """Whether the model was trained on some of it."""


def measured(
    text: str, name: str, config: EvaluationConfig, vocabulary: Vocabulary, about: Mapping[str, Any]
) -> Measured:
    """What is to be measured of a text; `about` is what the model's summary says of its own text.

    Raises:
        EvaluationError: it has characters that the model does not know, or no such part, or nothing in it.
    """
    own = about.get("sha256") == hashlib.sha256(text.encode()).hexdigest()
    piece = part_of(text, name, config.part, about, own=own)
    try:
        tokens = vocabulary.encode(piece, skip_unknown=config.skip_unknown)
    except UnknownCharacterError as error:
        raise EvaluationError(f"{name} has {error}; --skip-unknown leaves them out") from error
    if not len(tokens):
        nothing = "that the model knows" if piece else "at all"
        where = name if config.part == "whole" else f"the {config.part} part of {name}"
        raise EvaluationError(f"{where} has no character {nothing}")
    known = len(vocabulary.decode(tokens))
    seen = own and config.part in ("whole", "training")
    return Measured(name, config.part, tokens, known, len(piece) - known, seen)


def part_of(text: str, name: str, part: Part, about: Mapping[str, Any], *, own: bool) -> str:
    """A part of a text, divided as the run divided it.

    Raises:
        EvaluationError: the model was trained on another text, or does not say how it was divided.
    """
    if part == "whole":
        return text
    if not own:
        raise EvaluationError(
            f"{name} is not the text that the model was trained on, so it has no {part} part: "
            "leave out --part"
        )
    first, more = about.get("train"), about.get("validation")
    if not (isinstance(first, int) and isinstance(more, int) and first >= 0 and more >= 0):
        raise EvaluationError("the model does not say how its text was divided: leave out --part")
    second = first + more
    return {"training": text[:first], "validation": text[first:second], "test": text[second:]}[part]


@dataclass(frozen=True)
class Evaluation:
    """What a model made of a text."""

    model: str
    """Name of the checkpoint or bundle."""
    kind: Literal["checkpoint", "bundle"]
    device: str
    precision: str
    of: Measured
    lanes: int
    nats: float
    """The surprise of the whole text."""
    seconds: float
    """Duration of the measurement."""

    @property
    def nats_per_token(self) -> float:
        """The mean surprise of a token, the loss that training logs."""
        return self.nats / len(self.of.tokens)

    @property
    def bits_per_character(self) -> float:
        """Bits that a character takes to store; models can be compared by it whatever their tokens are."""
        return bits_per_character(self.nats, self.of.characters)

    @property
    def perplexity_per_token(self) -> float:
        """The number of tokens among which a fair choice is as unsure as the model was, on the average."""
        return perplexity(self.nats_per_token)

    @property
    def characters_per_second(self) -> float:
        """How fast it was measured."""
        return self.of.characters / max(self.seconds, 1e-9)

    @property
    def method(self) -> str:
        """How it was measured, in words."""
        stream = "from the start token and a fresh state"
        if self.lanes == 1:
            return f"one stream {stream}, its state carried through the whole; nothing learnt on the way"
        return (
            f"{self.lanes} lanes, the first {stream}, the others after reading the {PRIME} tokens before "
            "theirs; each carries its state to its end; nothing learnt on the way"
        )
