import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from charloom.errors import ConfigError
from charloom.ranges import FINITE, check_ranges, checks, out_of_range, ranges_of

NAN = float("nan")


@dataclass(frozen=True)
class Ranged:
    count: Annotated[int, Meta(ge=1)] = 1
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    seed: Annotated[int, Meta(ge=0, le=2**64 - 1)] = 0
    rate: Annotated[float, Meta(gt=0, le=FINITE)] = 1.0
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    open: Annotated[float, Meta(ge=0, lt=1)] | None = None
    several: Annotated[tuple[Annotated[float, Meta(ge=0, le=100)], ...], Meta(min_length=1, max_length=3)] = (
        1,
    )
    words: tuple[Annotated[str, Meta(min_length=1, max_length=4)], ...] = ()
    at_most: Annotated[tuple[str, ...], Meta(max_length=2)] = ()
    kind: Literal["a", "b"] = "a"
    free: str = ""

    def __post_init__(self):
        check_ranges(self)


@pytest.mark.parametrize(
    ("field", "bad", "reason", "good"),
    [
        ("count", 0, "must be at least 1, not 0", [1, 2**70]),
        ("port", -1, "must be 0 to 65535, not -1", [0, 65_535]),
        ("port", 65_536, "must be 0 to 65535, not 65536", []),
        ("seed", 2**64, "must be 0 to 2**64 - 1, not 2**64", [0, 2**64 - 1]),
        ("rate", 0, "must be above 0 and finite, not 0", [1e-300, 1e300]),
        ("rate", math.inf, "must be above 0 and finite, not inf", []),
        ("rate", NAN, "must be above 0 and finite, not nan", []),
        ("share", 0.0, "must be above 0 and at most 1, not 0", [1, 1e-9]),
        ("share", 1.5, "must be above 0 and at most 1, not 1.5", []),
        ("share", NAN, "must be above 0 and at most 1, not nan", []),
        ("open", 1, "must be at least 0 and below 1, not 1", [None, 0, 0.99]),
        ("open", NAN, "must be at least 0 and below 1, not nan", []),
        ("several", (1, 101), "must be 0 to 100, not 101", [(0,), (100, 1, 2)]),
        ("several", (), "must have 1 to 3 values, not 0", []),
        ("several", (1,) * 4, "must have 1 to 3 values, not more", []),
        ("words", ("ok", ""), "must have 1 to 4 characters, not 0", [(), ("four",)]),
        ("words", ("fives",), "must have 1 to 4 characters, not more", []),
        ("at_most", ("a",) * 3, "must have 0 to 2 values, not more", [(), ("a", "b")]),
        ("kind", "c", "must be one of a, b, not 'c'", ["a", "b"]),
    ],
)
def test_a_value_out_of_range_is_named_with_field_and_bounds(field, bad, reason, good):
    for value in good:
        Ranged(**{field: value})
    with pytest.raises(ConfigError) as caught:
        Ranged(**{field: bad})
    assert (caught.value.name, caught.value.reason) == (field, reason)
    assert str(caught.value) == f"{field} {reason}"


def test_all_fields_out_of_range_are_found():
    config = Ranged()
    object.__setattr__(config, "count", 0)
    object.__setattr__(config, "kind", "z")
    assert [name for name, _ in out_of_range(config)] == ["count", "kind"]


def test_a_field_without_a_range_takes_anything():
    assert "free" not in dict(checks(Ranged))


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (Annotated[int, Meta(ge=1)], ["at least 1"]),
        (Annotated[float, Meta(gt=0, le=1)] | None, ["above 0 and at most 1"]),
        (Annotated[tuple[Annotated[float, Meta(ge=0, le=1)], ...], Meta(min_length=1)], ["0 to 1"]),
        (Literal["a", "b"], []),
        (int, []),
    ],
)
def test_a_range_in_words(hint, said):
    assert list(ranges_of(hint)) == said
