"""Hashes of records: 16 bytes that stand for a record's text, wherever records are compared."""

import hashlib

HASH_BYTES = 16
HASH_NAME = "blake2b-128 of the text in UTF-8"
"""What a manifest calls them. Among N distinct records two have one hash with a probability of about
N**2 / 2**129: of ten million 1.5e-25, of a million million 1.5e-15."""


def record_hash(text: str) -> bytes:
    """Returns the hash of a record's text (BLAKE2b, RFC 7693)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()
