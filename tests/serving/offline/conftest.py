"""A source of attempts without a model, and jobs over it."""

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from charloom.novelty import NoveltyFilter
from charloom.options import GenerateOptions
from serving.offline.attempt import Attempt
from serving.offline.config import CountConfig
from serving.offline.formats import suffix_of
from serving.offline.job import Job
from serving.offline.run import OfflineRun


@dataclass
class WordSource:
    """Attempts of a few letters, which are often equal; each is drawn from its number alone.

    Some have no end, some no text, some a line end.
    """

    letters: str = "abcdefgh"
    longest: int = 5
    seed: int = 0
    novelty: NoveltyFilter | None = None
    dies_after: int | None = None
    """Attempts after which it raises an error."""
    model: str = "sha256:0"
    execution_class: str = "fake"
    can_end: bool = True
    delimiter: str | None = "\n"
    lacks_novelty: str = "needs a filter"
    computed: int = 0
    made: list[int] = field(default_factory=list)

    def attempt(self, number: int) -> Attempt:
        draw = random.Random(f"{self.seed} {number}")
        text = "".join(draw.choices(self.letters + "\n", k=draw.randint(0, self.longest)))
        return Attempt(number, text, len(text) + 1, draw.random() < 0.9)

    def attempts(self, numbers: range) -> Generator[Sequence[Attempt], None, None]:
        sizes = random.Random(len(self.made))
        while numbers:
            some, numbers = numbers[: (size := sizes.randint(1, 9))], numbers[size:]
            self.made += some
            self.computed += sum(10 for _ in some)
            yield [self.attempt(number) for number in some]
            if self.dies_after is not None and len(self.made) >= self.dies_after:
                raise RuntimeError("died")


def make_run(source: WordSource, output: Path, prompt: str = "", **config: object) -> OfflineRun:
    """The run of a command with these options of --count."""
    counting = CountConfig(**{"count": 100} | config)
    options = GenerateOptions(seed=source.seed)
    suffix = suffix_of(output)
    between = "\n" if suffix == ".txt" else ""
    job = Job.of(source, prompt, [], options, counting, suffix, between)
    return OfflineRun(source, job, counting, output)


Make = Callable[..., bytes]


def content(output: Path) -> bytes:
    """The bytes of an output, of all parts if it is a folder."""
    if output.is_dir():
        return b"".join(part.name.encode() + part.read_bytes() for part in sorted(output.iterdir()))
    return output.read_bytes()


@pytest.fixture
def undisturbed(tmp_path: Path) -> Make:
    """The bytes that an undisturbed run writes."""

    def make(name: str = "out.jsonl", source: WordSource | None = None, **config: object) -> bytes:
        folder = tmp_path / "undisturbed"
        folder.mkdir(exist_ok=True)
        make_run(source or WordSource(), folder / name, **{"overwrite": True} | config).run()
        return content(folder / name)

    return make


@pytest.fixture(autouse=True)
def commits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is written counts at once, a few records at a time."""
    monkeypatch.setattr("serving.offline.run.COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("serving.offline.run.BLOCK", 16)
