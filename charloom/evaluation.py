"""Evaluations: the part of a text that is measured, and what a model made of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from charloom.chunk import EvaluationBatches
from charloom.evaluation_config import EvaluationConfig, EvaluationError, Part
from charloom.evaluation_lanes import PRIME, EvaluationLanes
from charloom.records import RecordChanges, RecordsConfig, division, read_records
from charloom.records.batches import EvaluationRecords, RecordIds
from charloom.score import bits_per_character, perplexity
from charloom.text_file import read_text
from charloom.texts import Texts
from charloom.vocabulary import Tokens, UnknownCharacterError, Vocabulary


@dataclass(frozen=True)
class Measured:
    """A text, or the part of it that is to be measured, as a model reads it."""

    text: str
    """Its name."""
    part: Part
    batches: EvaluationBatches
    """Its tokens, of which there is at least one."""
    characters: int
    """Characters of the text that the tokens stand for."""
    skipped: int
    """Characters that the model does not know, which do not count."""
    seen: bool
    """Whether the model was trained on some of it."""
    method: str
    """How it is read, in words."""
    lanes: int = 0
    """The number of lanes; 0 for records."""


def measured(
    file: Path, config: EvaluationConfig, vocabulary: Vocabulary, about: Mapping[str, Any]
) -> Measured:
    """What is to be measured of a file; `about` is what the model's summary says of its own text.

    Raises:
        CharloomError: the file cannot be read, has characters that the model does not know, or no such part,
            or nothing in it.
    """
    if vocabulary.end is None:
        content, _ = read_text(file)
        return measured_text(content, str(file), config, vocabulary, about)
    return measured_records(file, config, vocabulary, about)


def measured_text(
    text: str, name: str, config: EvaluationConfig, vocabulary: Vocabulary, about: Mapping[str, Any]
) -> Measured:
    """What is to be measured of a continuous text.

    Raises:
        EvaluationError: it has characters that the model does not know, or no such part, or nothing in it.
    """
    own = about.get("sha256") == hashlib.sha256(text.encode()).hexdigest()
    piece = part_of(text, name, config.part, about, own=own)
    tokens, skipped = encode(piece, name, config, vocabulary)
    if not len(tokens):
        raise nothing(name, config.part, "that the model knows" if piece else "at all")
    lanes = EvaluationLanes(tokens, vocabulary.start, config.lanes)
    seen = own and config.part in ("whole", "training")
    return Measured(
        name, config.part, lanes, len(piece) - skipped, skipped, seen, lanes_method(lanes.count), lanes.count
    )


def measured_records(
    file: Path, config: EvaluationConfig, vocabulary: Vocabulary, about: Mapping[str, Any]
) -> Measured:
    """What is to be measured of the records of a file, read and divided as the model's own were.

    Raises:
        CharloomError: the file has no such records, or characters that the model does not know, or labels,
            or nothing in that part.
    """
    try:
        reading = msgspec.convert(about["records"], RecordsConfig)
        train, validation = msgspec.convert(about["fractions"], tuple[float, float])
    except (KeyError, msgspec.ValidationError) as error:
        raise EvaluationError("the model does not say how its records were read") from error
    name, parts = str(file), ("training", "validation", "test")
    ids: list[Tokens] = []
    characters = skipped = 0
    end = np.array([vocabulary.end], np.int64)
    for record in read_records(Texts((file,)), reading, RecordChanges()):
        if config.part not in ("whole", parts[division.part_of(record.text, train, validation)]):
            continue
        tokens, unknown = encode(record.text, name, config, vocabulary)
        labels = np.array(vocabulary.ids.label_ids(record.labels), np.int64)
        ids.append(np.concatenate([labels, tokens, end]))
        characters += len(record.text) - unknown
        skipped += unknown
    if not ids:
        raise nothing(name, config.part, "in a record")
    counts = np.array(list(map(len, ids)))
    labels_each = len(vocabulary.ids.special.labels)
    records = RecordIds(
        lambda: np.concatenate(ids), np.cumsum(counts) - counts, counts, labels_each, vocabulary.start
    )
    seen = config.part == "training"
    return Measured(name, config.part, EvaluationRecords(records), characters, skipped, seen, RECORDS_METHOD)


def encode(text: str, name: str, config: EvaluationConfig, vocabulary: Vocabulary) -> tuple[Tokens, int]:
    """Returns the tokens of a text [T], and how many characters were left out.

    Raises:
        EvaluationError: it has characters that the model does not know.
    """
    try:
        tokens = vocabulary.encode(text, skip_unknown=config.skip_unknown)
    except UnknownCharacterError as error:
        raise EvaluationError(f"{name} has {error}; --skip-unknown leaves them out") from error
    skipped = vocabulary.unknown_pieces(text) if config.skip_unknown else []
    return tokens, sum(len(piece) for _, piece in skipped)


def nothing(name: str, part: Part, what: str) -> EvaluationError:
    """Returns the error of a part in which there is no character to measure."""
    where = name if part == "whole" else f"the {part} part of {name}"
    return EvaluationError(f"{where} has no character {what}")


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
    nats: float
    """The surprise of the whole text."""
    seconds: float
    """Duration of the measurement."""

    @property
    def nats_per_token(self) -> float:
        """The mean surprise of a token, the loss that training logs."""
        return self.nats / self.of.batches.answers

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


RECORDS_METHOD = (
    "each record by itself, from the start token and a fresh state to its end, which counts as a token; "
    "nothing learnt on the way"
)


def lanes_method(lanes: int) -> str:
    """Returns how so many lanes are read, in words."""
    stream = "from the start token and a fresh state"
    if lanes == 1:
        return f"one stream {stream}, its state carried through the whole; nothing learnt on the way"
    return (
        f"{lanes} lanes, the first {stream}, the others after reading the {PRIME} tokens before "
        "theirs; each carries its state to its end; nothing learnt on the way"
    )
