"""How fast a text becomes token ids: megabytes a second of its two passes, on one core.

The first pass checks a text and learns its characters, the second encodes it into the file that training
maps into memory. Beside them, in turn, what the machine takes to read the same file and digest it, which
each pass does too. Run with `make bench-corpus`.
"""

import argparse
import hashlib
import pydoc_data.topics
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processes import processor
from benchmarks.table import print_row
from charloom.text_file import PIECE
from training.data.config import CorpusConfig
from training.data.corpus import TOKENS
from training.data.read_corpus import read_corpus

CYRILLIC = str.maketrans("abcdefghijklmnopqrstuvwxyz", "абцдефгхийклмнопярстувшыжз")
TEXTS: dict[str, Callable[[str], str]] = {
    "English": lambda line: line,
    "English with “ç” in each line": lambda line: f"{line} “ç”",
    "with Chinese in each line": lambda line: f"{line} 一切皆流",
    "in Cyrillic letters": lambda line: line.lower().translate(CYRILLIC),
    "in CJK characters": lambda line: "".join(map(ideograph, line.split())),
}
"""Texts by name, and how their lines are made: one character beyond ASCII forces the slower path."""


def ideograph(word: str) -> str:
    """One of three thousand CJK characters for a word, always the same."""
    return chr(0x4E00 + zlib.crc32(word.encode()) % 3000)


def main() -> None:
    """Prints a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{processor()}; {options.megabytes:g} MB of text, MB a second, medians of {options.rounds}.\n")
    names = ("reading and digesting alone", "first pass", "encoding", "both")
    print_row("text", *names)
    print_row(*["---"] * (1 + len(names)))
    with TemporaryDirectory() as folder:
        for name, written in TEXTS.items():
            text = Path(folder) / "text"
            write(text, int(options.megabytes * 1e6), written)
            rounds = [list(passes(text)) for _ in range(options.rounds)]
            size = text.stat().st_size / 1e6
            alone, first, second = (statistics.median(column) for column in zip(*rounds, strict=True))
            print_row(name, *(f"{size / took:,.0f}" for took in (alone, first, second, first + second)))


def write(path: Path, size: int, written: Callable[[str], str]) -> None:
    """A text of about so many bytes: Python's own language reference again and again, numbered."""
    lines = [written(line) for line in "\n".join(pydoc_data.topics.topics.values()).splitlines()]
    with path.open("w", encoding="utf-8") as stream:
        for turn in count():
            stream.write("".join(f"{line} {turn}\n" for line in lines))
            if stream.tell() >= size:
                return


def passes(text: Path) -> Iterator[float]:
    """Seconds of reading alone, and of each pass."""
    folder = text.parent
    yield seconds(lambda: digest(text))
    began = time.perf_counter()
    corpus = read_corpus(text, CorpusConfig(), folder)
    yield time.perf_counter() - began
    yield seconds(corpus.encode)
    (folder / TOKENS).unlink()


def digest(text: Path) -> None:
    """Reads a file as the passes do, and digests it."""
    made = hashlib.sha256()
    with text.open("rb") as stream:
        while piece := stream.read(PIECE):
            made.update(piece)


def seconds(call: Callable[[], object]) -> float:
    """What a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
