"""Scores: sums and averages of log-probabilities."""

import math

import pytest

from charloom.score import Score


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
    parts.add([1], [-1.5], "a")
    parts.add([], [], "")
    parts.add([2, 3], [-0.5, -2.0], "bc")
    assert (parts.token_ids, parts.logprobs, parts.text) == ([1, 2, 3], [-1.5, -0.5, -2.0], "abc")


def test_a_text_without_tokens_has_no_averages() -> None:
    assert Score().nats == 0
    assert math.isnan(Score().nats_per_token)
    assert math.isnan(Score().bits_per_character)


def test_a_text_that_cannot_be_has_an_endless_perplexity() -> None:
    assert scored(-1000.0).perplexity == math.inf
    assert scored(-math.inf).perplexity == math.inf
