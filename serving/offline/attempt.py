"""Attempts: texts that were generated, each from a fresh stream with a seed of its own. Data only."""

from typing import NamedTuple


class Attempt(NamedTuple):
    """One finished text. Its seed is the job's plus its number."""

    number: int
    """From 0."""
    text: str
    """Without the prompt."""
    tokens: int
    """Tokens that were generated, the end of the record included."""
    ended: bool
    """Whether the end of the record or a stop ended it, and not its full length."""
