from dataclasses import asdict, replace

import pytest

from networks.recurrent.config import STRONGEST, RecurrentConfig
from networks.registry import NETWORKS
from training.defaults import settle
from training.options import Options
from training.presets import PRESETS
from training.regularisation import RegularisationConfig


def settled(characters, options=None):
    return settle(options or Options(), characters, 66, 65)


def test_nothing_stays_open():
    for characters in (0, 1, 10**4, 10**6, 10**8):
        options, reason = vars(settled(characters)).values()
        assert options.model.cells
        assert None not in asdict(options.regularisation).values()
        assert f"{options.model.cells} cells" in reason
        assert f"weight dropout {options.regularisation.weight_dropout:g}" in reason
        assert settled(characters, options).reason == ""
        assert settled(characters, options).options == options


def test_a_longer_text_gets_no_smaller_a_model():
    cells = [settled(n).options.model.cells for n in (10**5, 10**6, 10**7, 10**8)]
    assert cells == sorted(cells)
    assert cells[0] < cells[-1]


def test_of_the_same_model_less_is_dropped_for_a_longer_text():
    wide = replace(Options(), model=RecurrentConfig(cells=512))
    rates = [settled(n, wide).options.regularisation.weight_dropout for n in (10**5, 10**7, 10**9)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.4
    assert rates[-1] == 0


def test_what_is_given_stays():
    given = replace(
        Options(), model=RecurrentConfig(cells=77), regularisation=RegularisationConfig(weight_dropout=0.0)
    )
    options, reason = vars(settled(10**5, given)).values()
    assert options.model == given.model
    assert options.regularisation.weight_dropout == 0
    assert options.regularisation.output_dropout > 0
    assert "cells" not in reason
    assert "weight" not in reason
    assert "output dropout" in reason


def test_a_larger_model_for_the_same_text_drops_more():
    small, large = (
        settled(10**6, replace(Options(), model=RecurrentConfig(cells=cells))).options.regularisation
        for cells in (64, 512)
    )
    assert small.dropout < large.dropout == STRONGEST.dropout


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_dropout_given_alone_is_all_that_is_dropped(rate):
    given = replace(Options(), regularisation=RegularisationConfig(dropout=rate))
    assert settled(10**5, given).options.regularisation == RegularisationConfig(rate, rate, rate, 0.0, 0.0)
    given = replace(Options(), regularisation=RegularisationConfig(dropout=rate, weight_dropout=0.5))
    assert settled(10**5, given).options.regularisation == RegularisationConfig(rate, rate, rate, 0.0, 0.5)


def test_nothing_is_dropped_from_a_one_hot_input_unless_it_is_named():
    model = RecurrentConfig(cells=512, embedding=0)
    for given, expected in (
        ({}, 0.0),
        ({"dropout": 0.5}, 0.0),
        ({"dropout": 0.5, "input_dropout": 0.2}, 0.2),
    ):
        options = replace(Options(), model=model, regularisation=RegularisationConfig(**given))
        filled = settled(10**5, options).options.regularisation
        assert filled.input_dropout == expected
        assert filled.output_dropout > 0


def test_the_thorough_preset_stays_below_four_million_parameters_and_drops_much():
    sizes = {k: v for k, v in PRESETS["thorough"].items() if k in ("cell", "layers", "cells", "embedding")}
    model = RecurrentConfig(**sizes)
    assert NETWORKS.size(model, 66, 65) < 4_000_000
    options = settled(1_003_854, replace(Options(), model=model)).options
    assert 0.8 * STRONGEST.weight_dropout < options.regularisation.weight_dropout
