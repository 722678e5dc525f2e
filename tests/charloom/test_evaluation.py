"""Evaluations: which part of a text, which numbers come of it, and what is refused."""

import json
import math
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from charloom.errors import ConfigError
from charloom.evaluate import as_json, as_lines
from charloom.evaluation import Evaluation, Measured, measured_text
from charloom.evaluation_config import EvaluationConfig, EvaluationError
from charloom.evaluation_lanes import EvaluationLanes
from charloom.vocabulary import CharacterVocabulary, Tokens
from tests.charloom.vocabulary.byte_pairs import BytePairVocabulary

TEXT = "abcabcabca"
ABOUT = {"sha256": sha256(TEXT.encode()).hexdigest(), "train": 6, "validation": 3, "test": 1}
ABC = CharacterVocabulary("abc")


def what(text: str = TEXT, about: Any = ABOUT, **options: Any) -> Measured:
    return measured_text(text, "the text", EvaluationConfig(**options), ABC, about)


def tokens_of(found: Measured) -> Tokens:
    """The tokens that are measured."""
    assert isinstance(found.batches, EvaluationLanes)
    assert found.batches.answers == len(found.batches.text)
    return found.batches.text.astype(np.int64)


@pytest.mark.parametrize(
    ("part", "piece", "seen"),
    [("whole", TEXT, True), ("training", "abcabc", True), ("validation", "abc", False), ("test", "a", False)],
)
def test_parts_are_those_of_the_run(part: str, piece: str, seen: bool) -> None:
    found = what(part=part)
    assert ABC.decode(tokens_of(found)) == piece
    assert (found.characters, found.skipped, found.seen) == (len(piece), 0, seen)


def test_another_text_is_new_and_has_no_parts() -> None:
    assert not what("abc").seen
    with pytest.raises(EvaluationError, match="not the text that the model was trained on"):
        what("abc", part="validation")
    for about in ({"sha256": ABOUT["sha256"]}, ABOUT | {"train": "6"}, ABOUT | {"validation": -1}):
        with pytest.raises(EvaluationError, match="does not say how its text was divided"):
            what(about=about, part="test")


def test_unknown_characters_are_named_or_left_out() -> None:
    with pytest.raises(EvaluationError, match=r"the text has .* '☃' \(U\+2603\) at 1; --skip-unknown"):
        what("a☃b☃")
    found = what("a☃b☃", skip_unknown=True)
    assert (ABC.decode(tokens_of(found)), found.characters, found.skipped) == ("ab", 2, 2)


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(EvaluationError, match="no character that the model knows"):
        what("☃", skip_unknown=True)
    with pytest.raises(EvaluationError, match="the test part of the text has no character at all"):
        what(about=ABOUT | {"validation": 4}, part="test")


def test_settings_out_of_range_are_named() -> None:
    for options in ({"part": "middle"}, {"lanes": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            EvaluationConfig(**options)


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation("mine", "bundle", "cpu", "int8", what(), nats=10 * math.log(4), seconds=0.5)


def test_even_odds(evaluation: Evaluation) -> None:
    assert evaluation.nats_per_token == pytest.approx(math.log(4))
    assert evaluation.bits_per_character == pytest.approx(2)
    assert evaluation.perplexity_per_token == pytest.approx(4)
    assert evaluation.characters_per_second == pytest.approx(20)
    words = replace(evaluation, of=replace(evaluation.of, characters=40))
    assert words.bits_per_character == pytest.approx(0.5)
    assert words.perplexity_per_token == pytest.approx(4)
    assert replace(evaluation, nats=1e9).perplexity_per_token == math.inf


def test_tokens_and_characters_are_counted_apart() -> None:
    vocabulary = BytePairVocabulary()
    found = measured_text("é你 the ", "the text", EvaluationConfig(), vocabulary, {})
    tokens = vocabulary.encode("é你 the ").tolist()
    assert (tokens_of(found).tolist(), found.characters, found.skipped) == (tokens, 7, 0)
    evaluation = Evaluation("mine", "bundle", "cpu", "int8", found, nats=14 * math.log(2), seconds=0.5)
    assert evaluation.bits_per_character == pytest.approx(2)
    assert evaluation.nats_per_token == pytest.approx(14 * math.log(2) / len(tokens))


def test_lines_and_json_say_the_same(evaluation: Evaluation) -> None:
    lines = dict(line.split(maxsplit=1) for line in as_lines(evaluation).splitlines())
    about = json.loads(as_json(evaluation))
    assert lines["nats/token"] == f"{about['nats_per_token']:.4f}" == "1.3863"
    assert lines["bits/character"] == f"{about['bits_per_character']:.4f}"
    assert lines["perplexity/token"] == f"{about['perplexity_per_token']:.4f}"
    assert lines["method"] == about["method"]
    assert "one stream" in about["method"]
    assert (about["characters"], about["tokens"], about["trained_on"]) == (10, 10, True)
    assert "trained on this text" in lines["note"]
    assert about["lanes"] == 1
    many = replace(evaluation, of=what(lanes=7))
    assert "7 lanes" in as_lines(many)
    assert "256 tokens before" in as_lines(many)
    assert json.loads(as_json(many))["lanes"] == 7
    assert json.loads(as_json(replace(evaluation, nats=math.inf)))["nats"] is None
