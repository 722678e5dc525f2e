"""Divides records into parts by the hash of their text, so that a file that grows keeps its division."""

import hashlib


def part_of(text: str, train_fraction: float, validation_fraction: float) -> int:
    """Returns where a record belongs, whatever the others are: 0 to train, 1 to validate, 2 to test on.

    Equal texts are in one part, so that none is validated on that was trained on.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64
    if place < train_fraction:
        return 0
    return 1 if place < train_fraction + validation_fraction + 1e-9 else 2
