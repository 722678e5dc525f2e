"""Nats in other measures."""

import math

import pytest

from charloom.nats import bits, perplexity


def test_a_fair_choice() -> None:
    assert bits(math.log(8)) == pytest.approx(3)
    assert perplexity(math.log(8)) == pytest.approx(8)
    assert (bits(0), perplexity(0)) == (0, 1)


def test_what_cannot_be_said_in_numbers() -> None:
    assert perplexity(1000) == perplexity(math.inf) == math.inf
    assert math.isnan(bits(math.nan))
    assert math.isnan(perplexity(math.nan))
