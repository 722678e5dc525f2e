import pytest

from charloom.errors import ConfigError
from training.options import Options
from training.sweeping.space import Choice, Range, Space, variable


@pytest.mark.parametrize(
    ("text", "name", "variation"),
    [
        ("cells=128,256, 512", "cells", Choice((128, 256, 512))),
        ("cells=64", "cells", Choice((64,))),
        ("cell=lstm,gru", "cell", Choice(("lstm", "gru"))),
        ("learning-rate=1e-4..1e-2:log", "learning-rate", Range(1e-4, 1e-2, whole=False, log=True)),
        ("--learning_rate=0.001,0.01", "learning-rate", Choice((0.001, 0.01))),
        ("dropout=0..0.5", "dropout", Range(0, 0.5, whole=False)),
        ("dropout=.1...5:.2", "dropout", Range(0.1, 0.5, whole=False, step=0.2)),
        ("layers=1..4", "layers", Range(1, 4, whole=True)),
        ("cells=64..512:log", "cells", Range(64, 512, whole=True, log=True)),
        ("cells=64..500:64", "cells", Range(64, 448, whole=True, step=64)),
    ],
)
def test_what_is_written_of_an_option(text, name, variation):
    assert Space.parse([text]).variations == {name: variation}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not OPTION=VALUES"),
        ("cells", "is not OPTION=VALUES"),
        ("cells=", "is not OPTION=VALUES"),
        ("sells=1,2", "sells is no option that can vary; these can: "),
        ("train-fraction=0.5..0.9", "train-fraction is no option that can vary"),
        ("max-minutes=1,2", "max-minutes is no option that can vary"),
        ("device=cpu,cuda", "device is no option that can vary"),
        ("cells=128,many", "'many' is no value of it, which must be an integer"),
        ("cells=128.5", "'128.5' is no value of it"),
        ("cells=128,,256", "'' is no value of it"),
        ("cells=-1,128", "cells: -1 cannot be used: cells must be"),
        ("cells=128,128", "has a value twice"),
        ("cell=lstm,tree", "'tree' is no value of it, which must be one of lstm, gru, rnn"),
        ("cell=gru..lstm", "a range needs numbers"),
        ("dropout=0..1", "dropout: 1 cannot be used: dropout must be at least 0 and below 1"),
        ("dropout=0.5..0.1", "from a lower number to a higher one"),
        ("dropout=0.1..0.1", "from a lower number to a higher one"),
        ("dropout=0..0.5:log", "begins above 0"),
        ("dropout=0..0.5:", "after the colon"),
        ("dropout=0..0.5:linear", "linear is no step"),
        ("dropout=0..0.5:0", "0 is no step"),
        ("dropout=0..0.5:1", "1 is no step"),
        ("cells=1..9:0.5", "0.5 is no step"),
        ("learning-rate=0.1..inf", "'inf' is no value of it"),
        ("learning-rate=nan,1", "'nan' is no value of it"),
        ("dropout=..0.5", "'' is no value of it"),
    ],
)
def test_what_cannot_be_meant_is_named(text, words):
    with pytest.raises(ConfigError) as caught:
        Space.parse([text])
    assert caught.value.name == "vary"
    assert words in str(caught.value)


def test_nothing_and_the_same_twice_are_refused_with_what_there_is():
    with pytest.raises(ConfigError, match=r"these can: .*cells.*dropout.*learning-rate"):
        Space.parse([])
    with pytest.raises(ConfigError, match="names cells twice"):
        Space.parse(["cells=1,2", "cells=3,4"])


def test_what_varies_is_put_into_the_options():
    space = Space.parse(["cells=1,2", "learning-rate=0.001..0.1"])
    options = space.options(Options(), {"cells": 2, "learning-rate": 0.05})
    assert options.flat() == Options().flat() | {"cells": 2, "learning_rate": 0.05}
    with pytest.raises(ConfigError, match="cells must be"):
        space.options(Options(), {"cells": -1})


def test_all_that_can_vary_is_an_option_of_a_run():
    names = {name.replace("_", "-") for name in Options().flat()}
    assert {"cell", "cells", "dropout", "batch", "optimizer", "epochs", "seed"} < set(variable()) < names
