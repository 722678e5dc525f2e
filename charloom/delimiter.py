"""The delimiter of a model's records: what was between them in the training text, and is part of none."""

from collections.abc import Mapping
from typing import Any

import msgspec

from charloom.errors import ConfigError
from charloom.records import RecordsConfig


def delimiter_of(training: Mapping[str, Any]) -> str | None:
    """Returns the delimiter that the training of a bundle's manifest states.

    None if the records are rows of a table, which may hold anything, or the text is a continuous one.
    """
    text = training.get("text")
    try:
        reading = msgspec.convert(text.get("records") if isinstance(text, dict) else None, RecordsConfig)
    except (msgspec.ValidationError, ConfigError):
        return None
    return reading.between
