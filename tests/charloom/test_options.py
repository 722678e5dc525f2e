import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.options import (
    GenerateOptions,
    InvalidRequestError,
    Sampling,
    Violation,
    choose_seed,
    seed_of,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [
        ("temperature", [-0.1, 100.1, NAN, float("inf")], [0, 0.0, 1e-40, 100]),
        ("top_k", [-1, 2**32], [0, 1, 2**32 - 1]),
        ("top_p", [0, -0.5, 1.01, NAN], [1e-9, 1, 0.5]),
        ("min_p", [-0.1, 1.1, NAN], [0, 1, 0.05]),
        ("max_tokens", [0, -1, 2**32], [1, 2**32 - 1]),
        ("seed", [-1, 2**64], [None, 0, 2**64 - 1]),
        ("stop", [("",), ("ok", ""), ("x" * 257,), ("a",) * 17], [(), ("x" * 256,), ("a",) * 16]),
    ],
)
def test_each_field_has_its_range(field, bad, good):
    for value in good:
        assert list(GenerateOptions(**{field: value}).violations()) == []
    for value in bad:
        violations = list(GenerateOptions(**{field: value}).violations())
        assert [violation.field for violation in violations] == [field], value


def test_all_violations_are_found_at_once():
    options = GenerateOptions(temperature=-1, top_k=-1, top_p=0, min_p=2, max_tokens=0, seed=-1, stop=("",))
    found = list(options.violations())
    assert [v.field for v in found] == [
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "max_tokens",
        "seed",
        "stop",
    ]
    error = InvalidRequestError(found)
    assert error.exit_code == 2
    assert error.violations == found
    assert all(f"{v.field} {v.reason}" in str(error) for v in found)


def test_violations_read_as_sentences():
    (violation,) = Sampling(top_p=0).violations()
    assert violation == Violation("top_p", "must be above 0 and at most 1, not 0")


@pytest.mark.parametrize(
    ("sampling", "plain"),
    [
        (Sampling(), True),
        (Sampling(temperature=0), True),
        (Sampling(top_k=1), False),
        (Sampling(top_p=0.99), False),
        (Sampling(min_p=0.01), False),
    ],
)
def test_plain_means_no_filter(sampling, plain):
    assert sampling.plain is plain


def test_the_sampling_part_of_the_options():
    options = GenerateOptions(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, max_tokens=9, seed=1)
    assert options.sampling == Sampling((0.5,), 3, 0.9, 0.1)
    assert type(options.sampling) is Sampling


def test_chosen_seeds_differ_and_every_language_can_hold_them():
    seeds = {choose_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**53 for seed in seeds)
    assert max(seeds) > 2**48


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**20), st.integers(0, 2**20))
def test_seeds_of_several_texts_count_up_and_wrap(first, i, j):
    assert seed_of(first, 0) == first
    assert seed_of(seed_of(first, i), j) == seed_of(first, i + j)
    assert not list(GenerateOptions(seed=seed_of(first, i)).violations())


def test_the_last_seed_is_followed_by_the_first():
    assert seed_of(2**64 - 1, 1) == 0
