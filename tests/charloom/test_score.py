"""Scores: sums and averages of log-probabilities."""

import math

import pytest

from charloom.score import Score, bits_per_character, perplexity


def scored(*logprobs: float, text: str = "") -> Score:
    score = Score()
    score.add(range(len(logprobs)), logprobs, text or "x" * len(logprobs))
    return score


def test_a_text_of_even_odds() -> None:
    score = scored(*[-math.log(4)] * 3)
    assert score.nats == pytest.approx(3 * math.log(4))
    assert score.nats == -score.logprob
    assert score.nats_per_token == pytest.approx(math.log(4))
    assert score.bits_per_character == pytest.approx(2)
    assert score.perplexity == pytest.approx(4)


def test_parts_add_up() -> None:
    parts = Score()
    parts.add([1], [-1.5], ["a"])
    parts.add([], [], [])
    parts.add([2, 3], [-0.5, -2.0], ["", "bcd"])
    assert (parts.token_ids, parts.logprobs, parts.text) == ([1, 2, 3], [-1.5, -0.5, -2.0], "abcd")


def test_a_token_is_no_character() -> None:
    score = Score()
    score.add([1, 2, 3], [-math.log(4)] * 3, ["the", "", "é"])
    assert score.nats_per_token == pytest.approx(math.log(4))
    assert score.bits_per_character == pytest.approx(2 * 3 / 4)


def test_a_text_without_tokens_has_no_averages() -> None:
    assert Score().nats == 0
    assert math.isnan(Score().nats_per_token)
    assert math.isnan(Score().bits_per_character)


def test_a_fair_choice() -> None:
    assert bits_per_character(2 * math.log(8), 2) == pytest.approx(3)
    assert perplexity(math.log(8)) == pytest.approx(8)
    assert (bits_per_character(0, 1), perplexity(0)) == (0, 1)


def test_what_cannot_be_said_in_numbers() -> None:
    assert perplexity(1000) == perplexity(math.inf) == math.inf
    assert math.isnan(bits_per_character(math.nan, 1))
    assert math.isnan(bits_per_character(1, 0))
    assert math.isnan(perplexity(math.nan))


def test_a_text_that_cannot_be_has_an_endless_perplexity() -> None:
    assert scored(-1000.0).perplexity == math.inf
    assert scored(-math.inf).perplexity == math.inf
