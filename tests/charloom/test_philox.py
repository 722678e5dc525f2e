import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.philox import philox, uniforms

seeds = st.integers(0, 2**64 - 1)
positions = st.integers(0, 2**40)

KNOWN_ANSWERS = """
00000000 00000000 00000000 00000000 | 00000000 00000000 | 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff | ffffffff ffffffff | 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 | a4093822 299f31d0 | d16cfe09 94fdcceb 5001e420 24126ea1
"""
"""Of philox4x32-10, from the Random123 library: counter, key, result."""


def words(text):
    return tuple(np.array([int(word, 16)], np.uint64) for word in text.split())


@pytest.mark.parametrize("line", KNOWN_ANSWERS.strip().splitlines())
def test_the_cipher_gives_the_known_answers(line):
    counter, key, result = map(words, line.split("|"))
    assert philox(counter, key) == result


def test_a_number_is_the_top_24_bits_of_its_word():
    block = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # seed 0, block 0
    assert uniforms([0], [0], 4)[:, 0].tolist() == [(word >> 8) / 2**24 for word in block]


@given(seeds, positions, st.lists(st.integers(0, 9), max_size=8))
def test_any_split_gives_the_same_numbers(seed, position, lengths):
    whole = uniforms([seed], [position], sum(lengths))[:, 0].tolist()
    parts = []
    for length in lengths:
        parts += uniforms([seed], [position + len(parts)], length)[:, 0].tolist()
    assert parts == whole


@given(st.lists(st.tuples(seeds, positions), min_size=1, max_size=6), st.integers(1, 9), st.randoms())
def test_a_row_does_not_depend_on_the_others(rows, count, random):
    alone = {row: uniforms([row[0]], [row[1]], count)[:, 0].tolist() for row in rows}
    random.shuffle(rows)
    together = uniforms([seed for seed, _ in rows], [position for _, position in rows], count)
    assert together.shape == (count, len(rows))
    assert together.dtype == np.float32
    for column, row in zip(together.T, rows, strict=True):
        assert column.tolist() == alone[row]


@given(seeds, st.integers(0, 2**60))
def test_numbers_lie_in_the_unit_interval_on_a_grid_of_24_bits(seed, position):
    numbers = uniforms([seed], [position], 50).astype(np.float64) * 2**24
    assert (numbers == np.floor(numbers)).all()
    assert (numbers >= 0).all()
    assert (numbers < 2**24).all()


def test_numbers_are_uniform_and_uncorrelated():
    numbers = uniforms(np.arange(200), np.zeros(200, np.uint64), 1000).astype(np.float64)
    counts, _ = np.histogram(numbers, 100, (0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < 180  # chi-squared with 99 degrees: 99.9999 %
    assert np.abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.012  # 5 sigma
    assert np.abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.012


@pytest.mark.parametrize("edge", [2**32, 2**34, 2**63 - 8])
def test_positions_go_on_beyond_the_words_of_the_counter(edge):
    around = uniforms([7], [edge - 6], 12)[:, 0]
    assert len(set(around.tolist())) == 12
    assert around[6:].tolist() == uniforms([7], [edge], 6)[:, 0].tolist()
    assert around[6:].tolist() != uniforms([7], [0], 6)[:, 0].tolist()


def test_both_halves_of_the_seed_count():
    low, high = uniforms([1, 2**32], [0, 0], 8).T.tolist()
    assert low != high
    assert uniforms([2**32 + 1], [0], 8)[:, 0].tolist() not in (low, high)
