"""The `score` command: how surprising texts are to a model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from charloom.printable import printable
from charloom.score import Score
from serving.commands.input_texts import InputText, TextError, groups, named, read_input_texts
from serving.commands.labels import LabelWords, chosen_labels
from serving.commands.output import destination
from serving.commands.source import Source

HEADER = f"{'nats':>12} {'nats/token':>10} {'bits/char':>10} {'perplexity':>10}  text\n"
COLUMNS = "nats\tnats/token\tbits/char\tperplexity\tfile\tline\ttext\n"


def score(
    *files: Path,
    source: Annotated[Source, Parameter(name="*")] = Source(),
    lines: bool = False,
    prompt: str = "",
    label: LabelWords = (),
    skip_unknown: bool = False,
    tokens: bool = False,
    json: bool = False,
    sort: bool = False,
) -> None:
    """Say how surprising texts are to a model, on a server (--address) or in a bundle (--bundle).

    For each text: the nats of all of it, of a token on the average, bits a character, perplexity. A
    terminal gets a table in which long lines are cut; a file or a pipe gets whole lines with their
    numbers, between tabs.

    Args:
        files: UTF-8 files, a text each; standard input if none is named.
        source: Where the model is.
        lines: Take every line of the files as a text; empty lines are passed over.
        prompt: Text to read before each text, which is not scored.
        label: Value of a label of the records, by its name or in the model's order; once for each label.
        skip_unknown: Leave out characters that the model does not know, instead of refusing the text.
        tokens: List each token too, with its log-probability in nats; a character of several tokens
            stands by the last.
        json: Write a JSON object a line, for programs.
        sort: List the most surprising text first, by nats a token.
    """
    with source.open() as model, destination() as file:
        header, render = HEADER, as_table
        if json:
            header, render = "", as_json
        elif not file.isatty():
            header, render = COLUMNS, as_columns
        labels = chosen_labels(label, lambda: model.label_columns)
        rate = partial(model.score, prompt=prompt, labels=labels, skip_unknown=skip_unknown)
        scored = score_all(rate, read_input_texts(files, lines=lines))
        rows: Iterable[tuple[float, str]] = (
            (score.nats_per_token, render(text, score, tokens=tokens)) for text, score in scored
        )
        if sort:
            rows = sorted(rows, key=lambda row: -row[0])
        for number, (_, row) in enumerate(rows):
            file.write(row if number else header + row)
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
        for one, score in zip(group, scores, strict=True):
            if not score.logprobs:
                raise TextError(f"{one.place} has no character that the model knows")
            yield one, score


def as_table(text: InputText, score: Score, *, tokens: bool) -> str:
    """A line of the table, and one for each token if they are wanted."""
    numbers = f"{score.nats:12.3f} {score.nats_per_token:10.4f} {score.bits_per_character:10.4f}"
    line = f"{numbers} {score.perplexity:10.4g}  {text.label}\n"
    listed = zip(score.token_texts, score.logprobs, strict=True) if tokens else ()
    return line + "".join(f"{logprob:12.4f}  {token!r}\n" for token, logprob in listed)


def as_columns(text: InputText, score: Score, *, tokens: bool) -> str:
    """A line for programs, and one for each token if they are wanted: all of it, between tabs."""
    numbers = (score.nats, score.nats_per_token, score.bits_per_character, score.perplexity)
    line = "\t".join([*(f"{number:.6g}" for number in numbers), *text.columns])
    listed = zip(score.token_texts, score.logprobs, strict=True) if tokens else ()
    return line + "\n" + "".join(f"{logprob:.6g}\t{token!r}\n" for token, logprob in listed)


def as_json(text: InputText, score: Score, *, tokens: bool) -> str:
    """A line of JSON; NaN and infinity become null."""
    about: dict[str, Any] = {
        "file": printable(text.file, strict=True),
        "line": text.line,
        "text": None if text.line is None else text.text,
        "tokens": len(score.logprobs),
        "nats": score.nats,
        "nats_per_token": score.nats_per_token,
        "bits_per_character": score.bits_per_character,
        "perplexity": score.perplexity,
    }
    if tokens:
        about["logprobs"] = list(zip(score.token_texts, score.logprobs, strict=True))
    return msgspec.json.encode(about).decode() + "\n"
