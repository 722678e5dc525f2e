"""The hint at records comes for lists of short lines, and for no text whose lines belong together."""

import hashlib
import inspect
import pydoc_data.topics
import random
import re
import string
import textwrap
from pathlib import Path

import pytest

from charloom.records import records_hint
from charloom.records.hint import FEWEST, looks_like_records
from charloom.texts import Texts

WORDS = sorted(set(re.findall(r"[a-z]+", "".join(pydoc_data.topics.topics.values()))))
PROSE = re.sub(r"\s+", " ", pydoc_data.topics.topics["compound"] + pydoc_data.topics.topics["class"])
VERSE = """\
Of Mans First Disobedience, and the Fruit
Of that Forbidden Tree, whose mortal tast
Brought Death into the World, and all our woe,
With loss of Eden, till one greater Man
Restore us, and regain the blissful Seat,
Sing Heav'nly Muse, that on the secret top
Of Oreb, or of Sinai, didst inspire
That Shepherd, who first taught the chosen Seed,
In the Beginning how the Heav'ns and Earth
Rose out of Chaos: Or if Sion Hill
Delight thee more, and Siloa's Brook that flow'd
Fast by the Oracle of God; I thence
Invoke thy aid to my adventrous Song,
"""  # Milton, Paradise Lost


def lists() -> dict[str, list[str]]:
    """Lines that stand alone, of several kinds."""
    draw = random.Random(0)

    def phrase(fewest: int, most: int) -> str:
        return " ".join(draw.sample(WORDS, draw.randint(fewest, most)))

    def clock() -> str:
        return f"2026-03-01 12:{draw.randrange(60):02}:{draw.randrange(60):02}"

    def cells(*, count: int) -> str:
        return ",".join(phrase(0, 2) for _ in range(count - 1)) + ","

    kinds = {
        "names": lambda: phrase(2, 2).title(),
        "words": lambda: phrase(1, 1),
        "titles": lambda: phrase(2, 9).capitalize(),
        "titles in small letters": lambda: phrase(3, 9),
        "tweets": lambda: f"{phrase(5, 20)} #{phrase(1, 1)}!",
        "logs": lambda: f"{clock()} INFO {phrase(2, 8)}",
        "logs of one length": lambda: f"{clock()} worker {draw.randrange(1000):04} is done",
        "smiles": lambda: "".join(draw.choices("CNOc1()=n2", k=draw.randint(20, 55))),
        "hashes": lambda: hashlib.sha256(draw.randbytes(4)).hexdigest(),
        "passwords": lambda: "".join(draw.choices(string.printable[:90], k=draw.randint(6, 12))),
        "comma-separated": lambda: cells(count=4),
        "sentences": lambda: f"{phrase(4, 15).capitalize()}.",
    }
    return {name: [make() for _ in range(300)] for name, make in kinds.items()}


LISTS = lists()


@pytest.mark.parametrize("kind", LISTS)
def test_lines_that_stand_alone_look_like_records(kind: str) -> None:
    lines = LISTS[kind]
    assert looks_like_records("\n".join(lines) + "\n")
    assert not looks_like_records("\n".join(lines[: FEWEST - 1]) + "\n")
    assert not looks_like_records("\n\n".join(lines))
    assert not looks_like_records(" ".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        *("\n".join(textwrap.wrap(PROSE, width)) for width in (60, 72, 80)),
        "\n".join(textwrap.wrap(PROSE, 1000)),
        pydoc_data.topics.topics["compound"],
        re.sub("\n+", "\n", inspect.getsource(textwrap)),
        VERSE * 9,
        "\n".join(f"{name}:\n{line}\n" for name, line in zip(LISTS["names"], LISTS["titles"], strict=True)),
        "",
    ],
    ids=["60", "72", "80", "paragraphs", "manual", "source", "verse", "drama", "nothing"],
)
def test_lines_that_belong_together_do_not(text: str) -> None:
    assert not looks_like_records(text)


def test_the_hint_names_the_option() -> None:
    sample = "\n".join(LISTS["names"])
    said = records_hint(Texts((Path("a.txt"),)), sample)
    assert said is not None
    assert "--records lines" in said
    assert "\n" not in said
    assert "--text-column" in (records_hint(Texts((Path("a.CSV"),)), sample) or "")
    assert records_hint(Texts((Path("a.txt"), Path("b.csv"))), PROSE) is None
