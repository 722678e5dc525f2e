import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.options import (
    GenerateOptions,
    InvalidRequestError,
    Sampling,
    Violation,
    check,
    choose_seed,
    seed_of,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [
        (
            "temperature",
            [-0.1, 100.1, NAN, float("inf"), (1, -1), (), (1,) * 65],
            [0, 0.0, 1e-40, 100, (0.2, 1), [0.2, 1], (1,) * 64],
        ),
        ("top_k", [-1, 2**32], [0, 1, 2**32 - 1]),
        ("top_p", [0, -0.5, 1.01, NAN], [1e-9, 1, 0.5]),
        ("min_p", [-0.1, 1.1, NAN], [0, 1, 0.05]),
        ("typical_p", [0, -0.5, 1.01, NAN], [1e-9, 1, 0.5]),
        ("repetition_penalty", [0, -1, 2**-10.1, 1024.1, NAN], [2**-10, 0.5, 1, 1.2, 1024]),
        ("frequency_penalty", [-2.1, 2.1, NAN], [-2, 0, 2]),
        ("presence_penalty", [-2.1, 2.1, NAN], [-2, 0, 2]),
        ("penalty_window", [0, -1, 1025], [1, 1024]),
        (
            "logit_bias",
            [{"a": 100.1}, {"a": -101}, {"a": NAN}, {-1: 0}, {2**32: 0}, [(i, 1) for i in range(301)]],
            [{}, {"a": 100, 3: -100}, [("a", 1)], [(i, 1) for i in range(300)]],
        ),
        ("allowed_tokens", [(-1,), ("a", 2**32), ("a",) * 16385], ["a", 7, ("a", 7), ("a",) * 16384]),
        ("forbidden_tokens", [(-1,), ("a",) * 16385], ["a", 7, ["a", 7]]),
        ("stop_tokens", [(-1,), ("a",) * 65], ["a", 7, {"a"}, ("a",) * 64]),
        ("max_tokens", [-1, 2**32], [0, 1, 2**32 - 1]),
        ("min_tokens", [-1, 257], [0, 1, 256]),
        ("seed", [-1, 2**64], [None, 0, 2**64 - 1]),
        ("stop", [("",), ("ok", ""), ("x" * 257,), ("a",) * 17], [(), "x", ("x" * 256,), ("a",) * 16]),
    ],
)
def test_each_field_has_its_range(field, bad, good):
    for value in good:
        assert list(GenerateOptions(**{field: value}).violations()) == []
    for value in bad:
        violations = list(GenerateOptions(**{field: value}).violations())
        assert [violation.field for violation in violations] == [field], value


def test_all_violations_are_found_at_once():
    bad = {
        "temperature": -1,
        "top_k": -1,
        "top_p": 0,
        "typical_p": 2,
        "min_p": 2,
        "repetition_penalty": 0,
        "frequency_penalty": 3,
        "presence_penalty": -3,
        "penalty_window": 0,
        "max_tokens": -1,
        "seed": -1,
        "stop": "",
        "logit_bias": {"a": 200},
        "allowed_tokens": -1,
        "forbidden_tokens": -1,
        "stop_tokens": -1,
    }
    found = list(GenerateOptions(**bad).violations())
    assert sorted(v.field for v in found) == sorted(bad)
    error = InvalidRequestError(found)
    assert error.exit_code == 2
    assert error.violations == found
    assert all(f"{v.field} {v.reason}" in str(error) for v in found)


@pytest.mark.parametrize(
    ("n", "logprobs", "fields"), [(0, None, ["n"]), (1, -1, ["logprobs"]), (2**32, 21, ["n", "logprobs"])]
)
def test_the_number_of_texts_and_alternatives_has_a_range(n, logprobs, fields):
    for good in ((1, None), (2, 0), (2**32 - 1, 20)):
        check(GenerateOptions(), *good)
    with pytest.raises(InvalidRequestError) as caught:
        check(GenerateOptions(), n, logprobs)
    assert [violation.field for violation in caught.value.violations] == fields


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
        (Sampling(typical_p=0.99), False),
        (Sampling(repetition_penalty=1.01), False),
        (Sampling(frequency_penalty=-0.1), False),
        (Sampling(presence_penalty=0.1), False),
        (Sampling(temperature=(0.2, 1), penalty_window=9), True),
    ],
)
def test_plain_means_no_filter(sampling, plain):
    assert sampling.plain is plain


def test_the_sampling_part_of_the_options():
    options = GenerateOptions(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, max_tokens=9, seed=1)
    assert options.sampling == Sampling((0.5,), 3, 0.9, 0.1)
    assert type(options.sampling) is Sampling


def test_what_is_listed_may_come_in_any_form():
    options = GenerateOptions(
        temperature=[0.5, 1], stop="ab", stop_tokens=3, logit_bias={"a": 1, 7: 2}, allowed_tokens=["a", 7]
    )
    assert (options.temperature, options.stop, options.stop_tokens) == ((0.5, 1), ("ab",), (3,))
    assert options.logit_bias == (("a", 1), (7, 2))
    assert options == GenerateOptions(**vars(options))
    assert hash(options) == hash(GenerateOptions(**vars(options)))
    assert hash(options.sampling) == hash(Sampling(temperature=(0.5, 1)))


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


def test_the_documentation_lists_every_option():
    text = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text("utf-8")
    table = text.split("## ")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    fields = {field.name for field in dataclasses.fields(GenerateOptions)}
    assert listed == fields - {"skip_unknown"} | {"n", "logprobs"}
