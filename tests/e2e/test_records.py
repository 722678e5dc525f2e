"""Models of records, trained for the purpose: labels that matter, and lines that are strange."""

import csv
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export.exporter import build_bundle
from serving.local import LocalModel

pytestmark = pytest.mark.slow

SIZE = ("--cells", 96, "--layers", 1, "--preview-length", 0, "--seed", 1)
GENRES = {
    "folk": ("The {} of {}", ("Ballad", "Miller", "Maiden", "Lament"), ("Tyrone", "the Glen", "Kildare")),
    "jazz": ("{} at {}", ("Blues", "Midnight", "Swing", "Stomp"), ("Minton's", "Birdland", "the Five Spot")),
    "techno": ("{}-{}", ("XR", "TK", "Acid", "Pulse"), ("101", "909", "303", "404")),
}
"""Of each genre the form of a title, and what it is filled with."""


@pytest.fixture
def train(in_process: Callable[..., object], tmp_path: Path) -> Callable[..., LocalModel]:
    """Trains a model on a file, and opens it."""

    def run(text: Path, *options: object) -> LocalModel:
        result = in_process("train", text, "--out", tmp_path / "run", *SIZE, *options)
        assert result.returncode == 0, result.stderr
        return LocalModel(build_bundle(tmp_path / "run"))

    return run


def title(genre: str, random_: random.Random) -> str:
    form, *words = GENRES[genre]
    return form.format(*map(random_.choice, words)) + random_.choice(["", " II", " (live)"])


def test_a_text_tells_under_which_label_it_was_made(train: Callable[..., LocalModel], tmp_path: Path) -> None:
    random_ = random.Random(1)
    table = tmp_path / "titles.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["genre", "year", "title"])
        for _ in range(3000):
            genre = random_.choice(list(GENRES))
            writer.writerow([genre, random_.choice(["1959", "1999"]), title(genre, random_)])
    model = train(table, "--text-column", "title", "--label-column", "genre", "year", "--epochs", 20)
    right = 0
    for genre in GENRES:
        texts = model.generate(n=50, seed=7, labels=(genre, "1999"))
        scores = {one: model.score(texts, labels=(one, "1999")) for one in GENRES}
        right += sum(max(GENRES, key=lambda one: scores[one][i].logprob) == genre for i in range(len(texts)))
    assert right >= 0.9 * 50 * len(GENRES)


def log_lines(random_: random.Random) -> Iterator[str]:
    """Lines of a server's log, of five kinds."""
    while True:
        time = f"12:{random_.randrange(60):02}:{random_.randrange(60):02}"
        session = f"{random_.randrange(16**8):08x}"
        yield random_.choice(
            [
                f"{time} INFO  login user=u{random_.randrange(1000)} session:{session}",
                f"{time} INFO  logout session:{session} after {random_.randrange(100)} min",
                f"{time} INFO  GET /api/items/{random_.randrange(10_000)} 200 in {random_.randrange(90)} ms",
                f"{time} WARN  slow query: {random_.randrange(1000, 3000)} ms",
                f"{time} INFO  heartbeat ok",
            ]
        )


PLANTED = (
    "12:10:33 INFO  login user=u512 session:zzzzzzzz",
    "12:44:07 INFO  GET /api/items/42' OR '1'='1 200 in 12 ms",
    "12:44:07 INFO  GET /api/../../etc/passwd 200 in 3 ms",
    "12:01:59 FATAL kernel panic",
    "12:15:00 INFO  heartbeat øk",
    "日本語",
    "12:20:20 INFO  logout session:0badc0de after -1 min",
)


def test_planted_lines_are_stranger_than_every_line_of_a_kind_that_was_seen(
    train: Callable[..., LocalModel], tmp_path: Path, in_process: Callable[..., object]
) -> None:
    lines = log_lines(random.Random(2))
    text = tmp_path / "app.log"
    text.write_text("".join(f"{next(lines)}\n" for _ in range(6000)))
    train(text, "--records", "lines", "--epochs", 6)
    fresh = [next(lines) for _ in range(500)]
    mixed = tmp_path / "mixed.log"
    mixed.write_text("\n".join([*fresh[:250], *PLANTED, *fresh[250:]]) + "\n", encoding="utf-8")
    result = in_process("score", "--checkpoint", tmp_path / "run", "--lines", "--sort", mixed)
    assert result.returncode == 0, result.stderr
    header, *rows = (row.split("\t") for row in result.stdout.splitlines())
    assert len(rows) == len(fresh) + len(PLANTED)
    strangest = {row[header.index("text")] for row in rows[: len(PLANTED)]}
    assert strangest == set(PLANTED)
    unknown = {row[header.index("text")]: int(row[header.index("unknown")]) for row in rows}
    assert unknown[PLANTED[0]] == 8
    assert unknown["日本語"] == 3
    assert all(unknown[line] == 0 for line in fresh)
