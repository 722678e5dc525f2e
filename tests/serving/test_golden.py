"""What the golden bundles answered once they answer today: on every machine, and to the bit in its class.

`tests/golden/` holds tiny bundles of fixed weights, and their texts. A test that fails here means that
the same seed no longer gives the same text, or that a bundle of old is no longer read. Where that is
meant, say so in the changelog and make them anew: `make golden GOLDEN=--bundles`.
"""

from copy import deepcopy
from pathlib import Path

import pytest

from charloom.execution_class import Precision
from charloom.manifest import BundleError
from serving.engine.config import RunnerConfig
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.serving.conftest import LoadOnce
from tests.serving.golden import BY_CLASS, CELLS, EVERYWHERE, FOLDER, ask, everywhere, read_texts
from tests.serving.unverified import write_unverified
from tools.golden import VOCABULARY, GoldenError, golden_model, merge

BUNDLES, ANSWERS = read_texts()
ANEW = "if that is meant, make the golden bundles anew: make golden GOLDEN=--bundles"


@pytest.fixture(scope="module", params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    given: Precision = request.param
    return given


def load(path: Path, precision: Precision) -> Model:
    return Model.load(path, RunnerConfig("cpu", precision, threads=2))


@pytest.fixture(scope="module")
def golden(load_once: LoadOnce, cell: str, precision: Precision) -> Model:
    try:
        return load_once(FOLDER / cell, precision)
    except BundleError as error:
        pytest.fail(f"a bundle of an older version is refused: {error}; {ANEW}")


def test_the_bundles_are_those_that_were_asked(cell: str, golden: Model) -> None:
    assert golden.bundle.digest == BUNDLES[cell], ANEW


def test_what_holds_everywhere(cell: str, precision: Precision, golden: Model) -> None:
    recorded = ANSWERS[everywhere(precision)][cell]
    assert recorded.keys() == EVERYWHERE.keys(), "cases were added or dropped: make golden"
    assert ask(golden, EVERYWHERE, max_burst=7) == recorded, ANEW


def test_what_holds_within_a_class(cell: str, golden: Model) -> None:
    place = str(golden.executor.execution_class)
    if place not in ANSWERS:
        pytest.skip(f"nothing is recorded for this processor: `make golden` adds {place}")
    recorded = ANSWERS[place][cell]
    cases = {name: BY_CLASS[name] for name in recorded}
    for burst in (5, 64):
        assert ask(golden, cases, max_burst=burst) == recorded, ANEW


@pytest.mark.slow
def test_the_weights_exported_today_answer_alike(
    cell: str, precision: Precision, golden: Model, tmp_path: Path
) -> None:
    """The golden graphs hold the samplers of their day; these hold today's."""
    write_unverified(tmp_path / cell, golden_model(cell), VOCABULARY, precision)
    today, cases = load(tmp_path / cell, precision), EVERYWHERE | BY_CLASS
    assert ask(today, cases) == ask(golden, cases), ANEW


def test_the_answers_of_another_class_are_added_and_the_others_stay() -> None:
    found = {"another class": {"rnn": ANSWERS[everywhere("float32")]["rnn"]}}
    assert merge(ANSWERS, found) == ANSWERS | found


def test_answers_are_changed_only_where_that_is_asked_for() -> None:
    place, before = everywhere("float32"), deepcopy(ANSWERS)
    found = deepcopy({place: {"gru": ANSWERS[place]["gru"]}})
    assert merge(ANSWERS, found) == ANSWERS
    found[place]["gru"]["greedy"][0]["text"] = "other"
    with pytest.raises(GoldenError, match=r"gru, float32, everywhere: .* greedy; .*GOLDEN=--overwrite"):
        merge(ANSWERS, found)
    merged = merge(ANSWERS, found, overwrite=True)
    assert before == ANSWERS
    assert merged[place] == ANSWERS[place] | found[place]
    assert {name: merged[name] for name in merged if name != place} == {
        name: ANSWERS[name] for name in ANSWERS if name != place
    }
