"""The check of promise 1: it passes for a real bundle, and every way to break the promise is caught."""

import numpy as np
import onnxruntime
import pytest

from charloom.bundle import Bundle
from charloom.burst import INPUTS
from charloom.exactness import MAX_PADDING, SIZES, STEPS, ExactnessError, Subject, check
from serving.engine.graph_reader import read_weights
from tests.conftest import PRECISIONS


@pytest.fixture(scope="module")
def bundle(bundle_dir):
    return Bundle.open(bundle_dir)


class Session:
    """A bundle's graphs as they are, with nothing that a runner adds."""

    def __init__(self, bundle, threads, precision):
        weights = bundle.weights(precision)
        self.sessions = {}
        for kind in INPUTS:
            graph = bundle.graph(precision, kind)
            tensors = read_weights(graph, bundle.manifest.precisions[precision].weights, weights)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
            options.add_external_initializers(list(tensors), values)
            self.sessions[kind] = onnxruntime.InferenceSession(graph, options)

    def run(self, kind, feeds):
        names = [output.name for output in self.sessions[kind].get_outputs()]
        return dict(zip(names, self.sessions[kind].run(names, feeds), strict=True))


def session(bundle, threads=1, precision="float32"):
    return Session(bundle, threads, precision)


@pytest.fixture(scope="module")
def good(bundle):
    """Runs bursts of the real bundle, exact to the bit."""
    return session(bundle).run


@pytest.fixture(scope="module")
def verdict(bundle, text_file):
    """Checks the bundle as it is run by the given function."""
    text = bundle.vocabulary.encode(text_file.read_text()[:2000], skip_unknown=True)

    def check_run(run, seed=0, precision="float32", **others):
        size = bundle.vocabulary.size
        state = tuple(bundle.manifest.precisions[precision].state)
        return check(Subject(run, size, size, state, others), text, seed=seed)

    return check_run


def padding(bundle, precision="float32"):
    """What the export found."""
    return bundle.manifest.precisions[precision].verification["padding"]


def nudged(array):
    """The next larger numbers."""
    return array + 1 if array.dtype == np.int64 else np.nextafter(array, np.float32(np.inf))


def breaking(run, when, name="c_1_out"):
    """The same runner, with one output off by the least bit where `when` finds rows to break."""

    def broken(kind, feeds):
        outputs = run(kind, feeds)
        if name in outputs:
            rows = np.broadcast_to(when(kind, feeds), len(feeds["last"]))
            place = rows if name.endswith("_out") else (slice(None), rows)
            outputs[name][place] = nudged(outputs[name][place])
        return outputs

    return broken


def below(rows):
    return lambda kind, feeds: len(feeds["last"]) < rows


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_real_bundle_is_exact(verdict, bundle, precision, seed):
    one, two = (session(bundle, threads, precision).run for threads in (1, 2))
    found = verdict(one, seed, precision, two_threads=two)
    assert found.padding == padding(bundle, precision)
    assert found.held == (
        "batch size",
        "row order",
        "split bursts",
        "reading",
        "filtered neighbours",
        "two_threads",
    )


@pytest.mark.parametrize("rows", [2, 4, 5, 17, 18, 33, 64])
def test_small_batches_that_differ_are_padded(good, verdict, rows):
    least = min(size for size in SIZES if size >= rows)
    assert verdict(breaking(good, below(rows))).padding == least


def test_other_tokens_alone_are_found_too(good, verdict):
    assert verdict(breaking(good, below(8), "chosen")).padding == 8


def test_a_single_size_that_differs_raises_the_padding_above_it(good, verdict):
    run = breaking(good, lambda kind, feeds: len(feeds["last"]) == 13)
    assert verdict(run).padding == 14


def test_more_padding_than_is_worth_it_is_an_error(good, verdict):
    with pytest.raises(ExactnessError, match="batches under 65 rows"):
        verdict(breaking(good, below(MAX_PADDING + 1)))


def test_bits_that_depend_on_every_batch_size_are_an_error(good, verdict):
    def broken(kind, feeds):
        outputs = good(kind, feeds)
        outputs["h_0_out"] = outputs["h_0_out"] + np.float32(1e-3 * len(feeds["last"]))
        return outputs

    with pytest.raises(ExactnessError, match="differ from larger ones"):
        verdict(broken)


def test_bits_that_depend_on_the_place_in_the_batch(good, verdict):
    run = breaking(good, lambda kind, feeds: np.arange(len(feeds["last"])) == 3)
    with pytest.raises(ExactnessError, match="row order changes c_1_out"):
        verdict(run)


def test_bits_that_depend_on_the_row_before(good, verdict):
    run = breaking(good, lambda kind, feeds: np.append(False, feeds["forced"][0, :-1] % 2 == 0))
    with pytest.raises(ExactnessError, match="row order changes c_1_out"):
        verdict(run)


def test_bits_that_depend_on_the_row_after(good, verdict):
    run = breaking(good, lambda kind, feeds: np.append(feeds["forced"][0, 1:] % 2 == 0, False))
    with pytest.raises(ExactnessError, match="differ from larger ones"):
        verdict(run)


def short(kind, feeds):
    return len(feeds["forced"]) < STEPS


@pytest.mark.parametrize("name", ["chosen", "h_0_out", "c_1_out"])
def test_bits_that_depend_on_the_length_of_the_burst(good, verdict, name):
    with pytest.raises(ExactnessError, match=f"split in two changes .*{name}"):
        verdict(breaking(good, short, name))


def test_a_reading_graph_that_is_another_model(good, verdict):
    run = breaking(good, lambda kind, feeds: kind == "read", "h_1_out")
    with pytest.raises(ExactnessError, match="reading without scores changes h_1_out"):
        verdict(run)


def test_a_reading_graph_that_leaves_the_last_token_to_the_next_burst(good, verdict):
    def broken(kind, feeds):
        if kind == "read":
            feeds = feeds | {"forced": feeds["forced"][:-1]}
        return good(kind, feeds)

    with pytest.raises(ExactnessError, match=r"reading without scores changes h_0_out, c_0_out"):
        verdict(broken)


@pytest.mark.parametrize("name", ["chosen", "c_1_out"])
def test_bits_that_depend_on_a_filtered_neighbour(good, verdict, name):
    run = breaking(good, lambda kind, feeds: kind == "full" and (feeds["top_k"] > 0).any(), name)
    with pytest.raises(ExactnessError, match=f"beside filtered ones changes {name}"):
        verdict(run)


def filters(kind, feeds):
    return kind == "full" and feeds["top_k"] > 0


@pytest.mark.parametrize("name", ["chosen", "logprob", "top_logprob", "c_1_out"])
def test_bits_of_a_filtered_row_that_depend_on_its_company(good, verdict, name):
    run = breaking(good, lambda kind, feeds: filters(kind, feeds) & (len(feeds["last"]) > 200), name)
    with pytest.raises(ExactnessError, match=f"company of a filtered row changes {name}"):
        verdict(run)


def test_a_full_graph_that_ignores_where_rows_end(good, verdict):
    """A row that runs on beside others, and not when it is alone."""

    def broken(kind, feeds):
        if kind == "full" and len(feeds["last"]) > 200:
            feeds = feeds | {"steps": np.full_like(feeds["steps"], STEPS)}
        return good(kind, feeds)

    with pytest.raises(ExactnessError, match="company of a filtered row changes chosen"):
        verdict(broken)


def test_another_way_that_differs(good, verdict):
    with pytest.raises(ExactnessError, match="many changes c_1_out"):
        verdict(good, many=breaking(good, lambda kind, feeds: True))


def test_another_way_that_differs_only_where_rows_filter(good, verdict):
    with pytest.raises(ExactnessError, match="many changes c_1_out"):
        verdict(good, many=breaking(good, lambda kind, feeds: kind == "full"))


def test_another_way_that_differs_for_few_rows_is_padded(good, verdict):
    assert verdict(good, many=breaking(good, below(4))).padding == 4


def test_the_padding_saves_other_ways_too(good, verdict):
    run = breaking(good, below(4))
    assert verdict(run, many=run).padding == 4


def test_a_short_text_is_enough(good, bundle):
    size = bundle.vocabulary.size
    subject = Subject(good, size, size, tuple(bundle.manifest.precisions["float32"].state))
    assert check(subject, np.array([1])).padding == padding(bundle)
