"""Counter-based random numbers: the n-th number of a seed, without the ones before it.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), over whole arrays at
once. numpy's own Philox is one generator object a stream; a burst needs K numbers for each of B seeds in
one call.
"""

import numpy as np
import numpy.typing as npt

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)

Words = npt.NDArray[np.uint64]
"""32-bit words, each in a 64-bit slot so that products do not overflow."""


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]) -> tuple[Words, ...]:
    """The block function: maps four counter words and two key words to four random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (second >> HALF) ^ c1 ^ k0, second & LOW, (first >> HALF) ^ c3 ^ k1, first & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


def uniforms(seeds: npt.ArrayLike, positions: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    """The numbers at `positions`, `positions + 1`, ... of each seed.

    Args:
        seeds: uint64 [B].
        positions: uint64 [B], where each row begins.
        count: K, how many numbers per row.

    Returns:
        float32 [K, B], multiples of 2**-24 in [0, 1).
    """
    seed: Words = np.asarray(seeds, dtype=np.uint64)[:, None]
    position: Words = np.asarray(positions, dtype=np.uint64)[:, None]
    # A block holds four numbers, so a row that begins inside one reads at most one block more.
    blocks: Words = (position >> np.uint64(2)) + np.arange(count // 4 + 2).astype(np.uint64)  # [B, blocks]
    zero = np.zeros_like(blocks)
    words = philox((blocks & LOW, blocks >> HALF, zero, zero), (seed & LOW, seed >> HALF))
    stream = np.stack(words, -1).reshape(len(blocks), -1)  # [B, 4 * blocks]
    offset: Words = (position & np.uint64(3)) + np.arange(count).astype(np.uint64)
    drawn = np.take_along_axis(stream, offset.astype(np.int64), 1)  # [B, K]
    return ((drawn >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)).T.copy()
