import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import sampler

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
sizes = st.integers(2, 40)


def scores_of(seed, rows, tokens):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (rows, tokens)).astype(np.float32))


def full(rows, value, dtype=torch.float32):
    return torch.full((rows,), value, dtype=dtype)


@given(st.integers(0, 2**32), sizes, st.lists(st.integers(1, 45), min_size=3, max_size=3))
def test_top_k_keeps_the_k_likeliest(seed, tokens, ks):
    mass = torch.softmax(scores_of(seed, 3, tokens), -1)
    result = sampler.keep_top_k(mass, torch.tensor(ks)).numpy()
    for row, source, k in zip(result, mass.numpy(), ks, strict=True):
        expected = np.argsort(-source, kind="stable")[:k]
        assert set(np.flatnonzero(row)) == set(expected) & set(np.flatnonzero(source))


@given(st.integers(0, 2**32), sizes, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(seed, tokens, p):
    mass = torch.softmax(scores_of(seed, 1, tokens), -1)
    row = sampler.keep_top_p(mass, full(1, p))[0].numpy()
    source = mass[0].numpy().astype(np.float64)
    order = np.argsort(-source, kind="stable")
    before = np.cumsum(source[order]) - source[order]
    if np.abs(before - p * source.sum()).min() > 1e-5:  # else rounding decides, either way
        assert set(np.flatnonzero(row)) == set(order[before < p * source.sum()])


@given(st.integers(0, 2**32), sizes, st.floats(0, 1))
def test_min_p_keeps_what_is_likely_beside_the_likeliest(seed, tokens, p):
    mass = torch.softmax(scores_of(seed, 1, tokens), -1)
    source = mass[0].numpy()
    limit = np.float32(p) * source.max()
    row = sampler.keep_min_p(mass, full(1, p))[0].numpy()
    np.testing.assert_array_equal(row > 0, (source >= limit) & (source > 0))


@given(st.integers(0, 2**32), sizes, st.floats(0.01, 0.99))
def test_typical_keeps_the_tokens_of_nearly_mean_information(seed, tokens, share):
    logits = scores_of(seed, 1, tokens)
    mass = torch.softmax(logits, -1)
    source = mass[0].numpy().astype(np.float64)
    information = -np.log(source)
    distance = np.abs(information - (source * information).sum() / source.sum())
    order = np.argsort(distance, kind="stable")
    before = np.cumsum(source[order]) - source[order]
    close = np.abs(before - share * source.sum()).min() < 1e-5 or np.diff(distance[order]).min() < 1e-4
    if not close:  # else rounding decides, either way
        expected = set(order[before < share * source.sum()])
        row = sampler.keep_typical(mass, logits, full(1, share))[0].numpy()
        assert set(np.flatnonzero(row)) == expected


@given(st.integers(0, 2**32), st.sampled_from([3, 40, 600]), st.data())
def test_a_filter_keeps_the_same_of_a_row_whatever_its_company(seed, tokens, data):
    """Company decides how far a row is ranked, and so how far sums are taken."""
    logits = scores_of(seed, 3, tokens)
    mass = torch.softmax(logits, -1)
    shares = st.lists(st.floats(2**-6, 1, width=32), min_size=3, max_size=3).map(torch.tensor)
    filters = {
        sampler.keep_top_k: (
            (mass,),
            torch.tensor(data.draw(st.lists(st.integers(1, 50), min_size=3, max_size=3))),
        ),
        sampler.keep_min_p: ((mass,), data.draw(shares)),
        sampler.keep_typical: ((mass, logits), data.draw(shares)),
        sampler.keep_top_p: ((mass,), data.draw(shares)),
    }
    for keep, (tensors, limit) in filters.items():
        together = keep(*tensors, limit)
        for row in range(3):
            alone = keep(*(tensor[row : row + 1] for tensor in tensors), limit[row : row + 1])
            assert torch.equal(alone[0], together[row])
            assert together[row].any()


def test_a_row_in_which_no_token_is_left_stays_without_a_number_and_gives_the_first():
    """The host must not ask for it; if it does, it harms nobody."""
    logits = torch.full((1, 300), -torch.inf)
    mass = torch.softmax(logits, -1)
    for keep in (sampler.keep_top_k, sampler.keep_min_p, sampler.keep_top_p):
        mass = keep(mass, torch.ones(1, dtype=torch.int64) if keep is sampler.keep_top_k else full(1, 0.5))
    mass = sampler.keep_typical(mass, logits, full(1, 0.5))
    assert mass.isnan().all()
    assert sampler.draw(mass, full(1, 0.5)).tolist() == [0]


MASSES = st.sampled_from([0.0, 1e-30, 1e-8, 0.1, 0.5, 3.0])
BLOCK = sampler.BLOCK


@st.composite
def sparse_masses(draw):
    """A row [V] of few tokens that have any mass, wherever the blocks begin and end."""
    tokens = draw(st.sampled_from([1, 2, 50, BLOCK, BLOCK + 1, 2 * BLOCK, 1000, 5003]))
    edges = [place for block in range(0, tokens, BLOCK) for place in (block, block - 1) if place >= 0]
    places = st.sampled_from([*edges, tokens - 1]) | st.integers(0, tokens - 1)
    row = torch.zeros(tokens)
    for place, value in draw(st.dictionaries(places, MASSES, max_size=20)).items():
        row[place] = value
    if not row.any():
        row[draw(places)] = 1
    return row


@settings(max_examples=200)
@given(sparse_masses())
def test_draw_never_chooses_a_token_of_probability_zero(row):
    chosen = sampler.draw(row.expand(3, -1), torch.tensor([[0.0], [0.5], [BELOW_ONE]]))
    assert (row[chosen] > 0).all()
    assert chosen[0] == row.nonzero()[0]


@given(st.integers(0, 2**32), st.sampled_from([2, BLOCK, BLOCK + 1, 300, 5003]), st.floats(0, BELOW_ONE))
def test_draw_takes_the_first_token_whose_cumulative_mass_exceeds_u(seed, tokens, u):
    mass = torch.softmax(scores_of(seed, 1, tokens), -1)
    edges = np.append(0, mass[0].numpy().astype(np.float64).cumsum())
    chosen = int(sampler.draw(mass, torch.tensor([[u]])))
    target = np.float32(u) * edges[-1]
    assert edges[chosen] - 1e-5 <= target <= edges[chosen + 1] + 1e-5


@given(st.integers(0, 2**32), st.integers(1, 1000), st.integers(1, 6))
def test_draw_of_a_large_vocabulary_knows_no_neighbours(seed, tokens, rows):
    mass = torch.softmax(scores_of(seed, rows, tokens), -1)
    uniform = torch.from_numpy(np.random.default_rng(seed).random((rows, 1), np.float32))
    together = sampler.draw(mass, uniform)
    assert together.tolist() == [int(sampler.draw(mass[r : r + 1], uniform[r : r + 1])) for r in range(rows)]


def dense_masses(tokens):
    """200 rows [200, V] whose tokens all have some mass; of so many, some are lost to rounding near u = 1."""
    return torch.softmax(scores_of(tokens, 200, tokens) * 2 / 3, -1)


@pytest.mark.parametrize("tokens", [2 * BLOCK, 300, 4 * BLOCK, 5 * BLOCK, 8 * BLOCK])
def test_draw_just_below_one_stays_within_a_dense_row(tokens):
    mass = dense_masses(tokens)
    chosen = sampler.draw(mass, torch.full((200, 1), BELOW_ONE))
    assert int(chosen.max()) < tokens
    above = 1 - np.take_along_axis(mass.numpy().astype(np.float64).cumsum(-1), chosen[:, None].numpy(), -1)
    assert above.max() < 1e-5


@pytest.mark.parametrize("tokens", [2, BLOCK, 2 * BLOCK, 4 * BLOCK, 8 * BLOCK])
def test_draw_counts_exactly_where_sums_are_exact(tokens):
    """Of equal tokens, i of V hold i / V of the mass: u there is the first number that token i gets."""
    mass = torch.ones(tokens, tokens)
    first = (torch.arange(tokens) / tokens)[:, None]
    assert sampler.draw(mass, first).tolist() == list(range(tokens))
    last = torch.nextafter((torch.arange(1, tokens + 1) / tokens)[:, None], torch.zeros(1))
    assert sampler.draw(mass, last).tolist() == list(range(tokens))


def test_draw_follows_the_distribution():
    mass = torch.tensor([[0.1, 0.0, 0.6, 0.3]]).expand(10_000, 4)
    uniform = torch.from_numpy(((np.arange(10_000) + 0.5) / 10_000).astype(np.float32))[:, None]
    counts = torch.bincount(sampler.draw(mass, uniform), minlength=4)
    assert counts.tolist() == pytest.approx([1000, 0, 6000, 3000], abs=2)


def test_temperature_zero_takes_the_likeliest_and_of_equals_the_first():
    scores = torch.tensor([[1.0, 5.0, 5.0, 2.0], [-3.0, -1.0, -2.0, -1.0], [0.0, 0.0, 0.0, 1e-6]])
    inverse = sampler.inverse(torch.zeros(3, 1))
    uniform = sampler.settle(torch.full((3, 1), BELOW_ONE), inverse)
    assert sampler.draw(sampler.probabilities(scores, inverse), uniform).tolist() == [1, 1, 3]


def test_temperature_divides_the_scores():
    scores = scores_of(3, 2, 9)
    result = sampler.probabilities(scores, sampler.inverse(torch.tensor([[0.5], [2.0]])))
    for row, source, t in zip(result.numpy(), scores.numpy(), (0.5, 2.0), strict=True):
        weights = np.exp(source / t - (source / t).max())
        np.testing.assert_allclose(row, weights / weights.sum(), rtol=1e-5)


@given(st.integers(0, 2**32), st.integers(0, 8))
def test_penalties_equal_the_reference(seed, window):
    random = np.random.default_rng(seed)
    scores = scores_of(seed, 1, 6)
    recent = random.integers(-1, 6, (1, 8))
    result = sampler.penalise(
        scores,
        torch.from_numpy(recent),
        full(1, window, torch.int64),
        full(1, 1.5),
        full(1, 0.3),
        full(1, 0.2),
    )
    expected = scores[0].numpy().astype(np.float64)
    newest = recent[0][8 - window :]
    for token in range(6):
        count = int((newest == token).sum())
        if count:
            expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
            expected[token] -= 0.3 * count + 0.2
    np.testing.assert_allclose(result[0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_bias_adds_where_it_is_active_and_sums_repeats():
    scores = torch.zeros(2, 4)
    token = torch.tensor([[1, 1, 3], [0, 2, 2]])
    value = torch.tensor([[1.0, 2.0, torch.inf], [5.0, -torch.inf, 1.0]])
    active = torch.tensor([[True, True, False], [False, False, True]])
    assert sampler.bias(scores, token, value, active).tolist() == [[0, 3, 0, 0], [0, 0, 1, 0]]


def test_only_allowed_tokens_are_drawn():
    allowed = torch.tensor([[False, True, False, True]])
    scores = sampler.allow(torch.tensor([[9.0, 0.0, 9.0, 0.0]]), allowed)
    mass = sampler.probabilities(scores, torch.ones(1, 1))
    assert mass.tolist() == [[0.0, 0.5, 0.0, 0.5]]
