"""The check of promise 1: it passes for a real bundle, and every way to break the promise is caught."""

import numpy as np
import pytest

from charloom.bundle import GRAPHS, Bundle
from charloom.exactness import MOST_PADDING, SIZES, ExactnessError, Subject, check
from export.verify import Session


@pytest.fixture(scope="module")
def bundle(bundle_dir):
    return Bundle.open(bundle_dir)


@pytest.fixture(scope="module")
def good(bundle):
    """Runs bursts of the real bundle, exact to the bit."""
    return Session({kind: bundle.graph(kind) for kind in GRAPHS}, threads=1).run


@pytest.fixture(scope="module")
def verdict(bundle, text_file):
    """Checks the bundle as it is run by the given function."""
    text = bundle.vocabulary.encode(text_file.read_text()[:2000])

    def check_run(run, seed=0, **threads):
        size = bundle.vocabulary.size
        state = tuple(bundle.manifest.state_specs)
        return check(Subject(run, size, size, state, threads), text, seed=seed)

    return check_run


def nudged(array):
    """The nearest larger floats."""
    return np.nextafter(array, np.float32(np.inf))


def breaking(run, when, name="logprob"):
    """The same runner, with one output off by the least bit where `when` finds rows to break."""

    def broken(kind, feeds):
        outputs = run(kind, feeds)
        outputs[name] = np.where(when(kind, feeds), nudged(outputs[name]), outputs[name])
        return outputs

    return broken


def below(rows):
    return lambda kind, feeds: len(feeds["last"]) < rows


@pytest.mark.parametrize("seed", [0, 1])
def test_a_real_bundle_is_exact(good, verdict, bundle, seed):
    two = Session({kind: bundle.graph(kind) for kind in GRAPHS}, threads=2).run
    found = verdict(good, seed, two_threads=two)
    assert found.padding == bundle.manifest.padding
    assert found.held == ("batch size", "row order", "split bursts", "filtered neighbours", "two_threads")


@pytest.mark.parametrize("rows", [2, 4, 5, 17, 18, 33, 64])
def test_small_batches_that_differ_are_padded(good, verdict, rows):
    least = min(size for size in SIZES if size >= rows)
    assert verdict(breaking(good, below(rows))).padding == least


def test_other_bits_in_the_state_alone_are_found_too(good, verdict):
    assert verdict(breaking(good, below(8), "h_0_out")).padding == 8


def test_a_single_size_that_differs_raises_the_padding_above_it(good, verdict):
    run = breaking(good, lambda kind, feeds: len(feeds["last"]) == 13)
    assert verdict(run).padding == 14


def test_more_padding_than_is_worth_it_is_an_error(good, verdict):
    with pytest.raises(ExactnessError, match="batches under 65 rows"):
        verdict(breaking(good, below(MOST_PADDING + 1)))


def test_bits_that_depend_on_every_batch_size_are_an_error(good, verdict):
    def broken(kind, feeds):
        outputs = good(kind, feeds)
        outputs["logprob"] = outputs["logprob"] + np.float32(1e-3 * len(feeds["last"]))
        return outputs

    with pytest.raises(ExactnessError, match="differ from larger ones"):
        verdict(broken)


def test_bits_that_depend_on_the_place_in_the_batch(good, verdict):
    run = breaking(good, lambda kind, feeds: np.arange(len(feeds["last"])) == 3)
    with pytest.raises(ExactnessError, match="row order changes logprob"):
        verdict(run)


def test_bits_that_depend_on_the_length_of_the_burst(good, verdict):
    run = breaking(good, lambda kind, feeds: len(feeds["uniform"]) < 8)
    with pytest.raises(ExactnessError, match="split in two changes logprob"):
        verdict(run)


def test_bits_of_the_state_that_depend_on_the_length_of_the_burst(good, verdict):
    run = breaking(good, lambda kind, feeds: len(feeds["uniform"]) < 8, "c_1_out")
    with pytest.raises(ExactnessError, match=r"split in two changes .*c_1_out"):
        verdict(run)


def test_bits_that_depend_on_a_filtered_neighbour(good, verdict):
    run = breaking(good, lambda kind, feeds: kind == "full" and (feeds["top_k"] > 0).any())
    with pytest.raises(ExactnessError, match="beside filtered ones changes logprob"):
        verdict(run)


def test_a_full_graph_whose_steps_are_off(good, verdict):
    """A frozen row that runs on in the full graph shows in its tokens."""

    def broken(kind, feeds):
        return good(kind, feeds if kind == "plain" else feeds | {"steps": np.full_like(feeds["steps"], 8)})

    with pytest.raises(ExactnessError, match="beside filtered ones changes chosen"):
        verdict(broken)


def test_another_number_of_threads_that_differs(good, verdict):
    with pytest.raises(ExactnessError, match="many changes logprob"):
        verdict(good, many=breaking(good, lambda kind, feeds: True))


def test_another_number_of_threads_that_differs_for_few_rows(good, verdict):
    with pytest.raises(ExactnessError, match="many, 3 rows changes logprob"):
        verdict(good, many=breaking(good, below(4)))


def test_the_padding_saves_other_threads_too(good, verdict):
    run = breaking(good, below(4))
    assert verdict(run, many=run).padding == 4


def test_a_short_text_is_enough(good, bundle):
    size = bundle.vocabulary.size
    subject = Subject(good, size, size, tuple(bundle.manifest.state_specs))
    assert check(subject, np.array([1])).padding == bundle.manifest.padding
