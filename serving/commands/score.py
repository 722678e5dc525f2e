"""The `score` command: how surprising texts are to a model."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from cyclopts import Parameter

from charloom.printable import printable
from charloom.score import Score
from serving.commands.input_texts import InputText, groups, named, read_input_texts
from serving.commands.labels import LabelWords, chosen_labels
from serving.commands.output import destination
from serving.commands.source import Source


def score(
    *files: Path,
    source: Annotated[Source, Parameter(name="*")] = Source(),
    lines: bool = False,
    prompt: str = "",
    label: LabelWords = (),
    skip_unknown: bool = False,
    tokens: bool = False,
    ranks: bool = False,
    json: bool = False,
    sort: bool = False,
) -> None:
    """Say how surprising texts are to a model, on a server (--address) or in a bundle (--bundle).

    For each text: the nats of all of it, of a token on the average, bits a character, perplexity, and how
    many of its characters the model does not know. A terminal gets a table in which long lines are cut; a
    file or a pipe gets whole lines with their numbers, between tabs.

    Args:
        files: UTF-8 files, a text each; standard input if none is named.
        source: Where the model is.
        lines: Take every line of the files as a text; empty lines are passed over.
        prompt: Text to read before each text, which is not scored.
        label: Value of a label of the records, by its name or in the model's order; once for each label.
        skip_unknown: Leave out characters that the model does not know. Otherwise each is as surprising as
            one that the training text had less often than any other.
        tokens: List each token too, with its log-probability in nats; a character of several tokens
            stands by the last, and the end of a record has no text.
        ranks: Find the rank of each token among all that could stand there, 1 being the likeliest; of each
            text the worst is listed.
        json: Write a JSON object a line, for programs.
        sort: List the most surprising text first, by nats a token.
    """
    with source.open() as model, destination() as file:
        layout: Layout = (
            JsonObjects(tokens) if json else Table(ranks) if file.isatty() else TabSeparated(ranks)
        )
        labels = chosen_labels(label, lambda: model.label_columns)
        rate = partial(model.score, prompt=prompt, labels=labels, skip_unknown=skip_unknown, ranks=ranks)
        rows: Iterable[tuple[float, str]] = (
            (surprise(score), layout.row(text, score) + (layout.tokens(score) if tokens else ""))
            for text, score in score_all(rate, read_input_texts(files, lines=lines))
        )
        if sort:
            rows = sorted(rows, key=lambda row: -row[0])
        for number, (_, row) in enumerate(rows):
            file.write(row if number else layout.header + row)
            file.flush()


def score_all(
    rate: Callable[[Sequence[str]], list[Score]], texts: Iterator[InputText]
) -> Iterator[tuple[InputText, Score]]:
    """Each text with its score.

    Raises:
        TextError: one cannot be scored.
    """
    for group in groups(texts):
        with named(group):
            scores = rate([one.text for one in group])
        yield from zip(group, scores, strict=True)


def surprise(score: Score) -> float:
    """By what texts are sorted: nats a token; a text without a token comes last."""
    return score.nats_per_token if score.logprobs else -math.inf


class Layout(Protocol):
    """How scores are written."""

    @property
    def header(self) -> str:
        """What comes before all texts."""
        ...

    def row(self, text: InputText, score: Score) -> str:
        """The line of a text."""
        ...

    def tokens(self, score: Score) -> str:
        """What lists the tokens of a text, below its line."""
        ...


@dataclass(frozen=True)
class Table:
    """A table for people: a text's line is cut."""

    ranks: bool

    @property
    def header(self) -> str:
        """The names of the columns."""
        names = f"{'nats':>12} {'nats/token':>10} {'bits/char':>10} {'perplexity':>10} {'unknown':>7}"
        return names + (f" {'rank':>6}" if self.ranks else "") + "  text\n"

    def row(self, text: InputText, score: Score) -> str:
        """The line of a text."""
        numbers = f"{score.nats:12.3f} {score.nats_per_token:10.4f} {score.bits_per_character:10.4f}"
        line = f"{numbers} {score.perplexity:10.4g} {score.unknown:7d}"
        return line + (f" {score.worst_rank:6d}" if self.ranks else "") + f"  {text.label}\n"

    def tokens(self, score: Score) -> str:
        """A line for each token of a text."""
        ranks = [f" {rank:6d}" for rank in score.ranks] or [""] * len(score.logprobs)
        listed = zip(score.token_texts, score.logprobs, ranks, strict=True)
        return "".join(f"{logprob:12.4f}{rank}  {token!r}\n" for token, logprob, rank in listed)


@dataclass(frozen=True)
class TabSeparated:
    """Lines for programs: all of a text, and what is said of it between tabs."""

    ranks: bool

    @property
    def header(self) -> str:
        """The names of the columns."""
        rank = ["rank"] if self.ranks else []
        names = ["nats", "nats/token", "bits/char", "perplexity", "unknown", *rank, "file", "line", "text"]
        return "\t".join(names) + "\n"

    def row(self, text: InputText, score: Score) -> str:
        """The line of a text."""
        numbers = (score.nats, score.nats_per_token, score.bits_per_character, score.perplexity)
        rank = [str(score.worst_rank)] if self.ranks else []
        said = [*(f"{number:.6g}" for number in numbers), str(score.unknown), *rank, *text.columns]
        return "\t".join(said) + "\n"

    def tokens(self, score: Score) -> str:
        """A line for each token of a text."""
        ranks = [f"{rank}\t" for rank in score.ranks] or [""] * len(score.logprobs)
        listed = zip(score.token_texts, score.logprobs, ranks, strict=True)
        return "".join(f"{logprob:.6g}\t{rank}{token!r}\n" for token, logprob, rank in listed)


@dataclass(frozen=True)
class JsonObjects:
    """A JSON object a line; NaN and infinity become null."""

    with_tokens: bool
    header = ""

    def row(self, text: InputText, score: Score) -> str:
        """The line of a text."""
        about: dict[str, Any] = {
            "file": printable(text.file, strict=True),
            "line": text.line,
            "text": None if text.line is None else text.text,
            "tokens": len(score.logprobs),
            "nats": score.nats,
            "nats_per_token": score.nats_per_token,
            "bits_per_character": score.bits_per_character,
            "perplexity": score.perplexity,
            "unknown": score.unknown,
        }
        if score.ranks:
            about["worst_rank"] = score.worst_rank
        if self.with_tokens:
            about["logprobs"] = list(zip(score.token_texts, score.logprobs, strict=True))
            about |= {"ranks": score.ranks} if score.ranks else {}
        return msgspec.json.encode(about).decode() + "\n"

    def tokens(self, score: Score) -> str:  # noqa: ARG002
        """Nothing: they are in the object."""
        return ""
