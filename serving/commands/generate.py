"""The `generate` command: text to standard output, from a server or straight from a bundle or a training.

Standard output gets the text alone, so that it pipes; everything else goes to standard error.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TextIO

import msgspec
from cyclopts import Parameter
from msgspec import Meta

from charloom.errors import require
from charloom.flags import Flags
from charloom.options import GenerateOptions, check, choose_seed, seed_of
from serving.commands.input_texts import read_whole
from serving.commands.labels import LabelWords, chosen_labels
from serving.commands.output import OutputError, destination
from serving.commands.source import Source
from serving.commands.text_model import TextModel, TextPiece
from serving.offline.config import COUNT, CountConfig
from serving.offline.formats import suffix_of


def generate(
    *,
    source: Annotated[Source, Parameter(name="*")] = Source(),
    prompt: str = "",
    prompt_file: Path | None = None,
    label: LabelWords = (),
    n: Annotated[int, Meta(ge=1), Parameter(name=["--n", "-n"])] = 1,
    separator: str | None = None,
    json: bool = False,
    output: Path | None = None,
    counting: COUNT = CountConfig(),
    options: Annotated[Flags, Parameter(name="*")] = Flags(),
) -> None:
    """Generate text from a server (--address), a bundle (--bundle) or a training (--checkpoint).

    Args:
        source: Where the model is.
        prompt: Text to continue; it is not repeated in the output. A single dash: read standard input.
        prompt_file: UTF-8 file of the text to continue, all of it: a newline at its end counts.
        label: Value of a label of the records, by its name or in the model's order; once for each label.
        n: Texts to generate; each has the seed after that of the one before it.
        separator: Text behind each of several texts, instead of a newline.
        json: Write each text as a JSON object on a line, for programs.
        output: File to write to instead of standard output.
        counting: How many records, for --count.
        options: How to generate.
    """
    check(options, n)
    if counting.count is not None:
        require(n == 1 and not json, "count", "excludes --n and --json")
        require(options.max_tokens > 0, "max_tokens", "must be at least 1 with --count")
        suffix_of(output)
    require(prompt_file is None or not prompt, "prompt_file", "excludes --prompt")
    if prompt == "-" or prompt_file is not None:
        prompt = read_whole(prompt_file)
    if counting.count is not None:
        assert output is not None
        with source.open() as model:
            generate_records(model, prompt, label, counting, output, separator, options)
        return
    with source.open() as model, destination(output) as file:
        if (seed := options.seed) is None:
            seed = choose_seed()
            print(f"charloom: seed {seed}", file=sys.stderr)  # noqa: T201
        labels = chosen_labels(label, lambda: model.label_columns)
        made = model.stream(prompt, replace(options, seed=seed), n=n, labels=labels)
        pieces = in_order(without_notes(made))
        if json:
            write_json(pieces, seed, file)
        else:
            newline = "\n" if n > 1 or file.isatty() else ""
            write(pieces, separator if n > 1 and separator is not None else newline, file)


def without_notes(pieces: Iterable[TextPiece]) -> Iterator[TextPiece]:
    """The pieces, whose notes are printed."""
    for piece in pieces:
        for note in piece.notes:
            print(f"charloom: {note}", file=sys.stderr)  # noqa: T201
        yield piece


def generate_records(
    model: TextModel,
    prompt: str,
    label: Sequence[str],
    counting: CountConfig,
    output: Path,
    separator: str | None,
    options: GenerateOptions,
) -> None:
    """Writes so many records to a file."""
    from serving.offline.job import Job
    from serving.offline.run import OfflineRun, first_seed

    labels = chosen_labels(label, lambda: model.label_columns)
    seeded = replace(options, seed=first_seed(options.seed, output, counting))
    source = model.attempt_source(prompt, seeded, labels=labels, max_batch=counting.max_batch)
    suffix = suffix_of(output)
    between = separator or source.delimiter or "\n" if suffix == ".txt" else ""
    job = Job.of(source, prompt, labels, seeded, counting, suffix, between)
    try:
        OfflineRun(source, job, counting, output).run()
    except OSError as error:
        raise OutputError(f"cannot write {error.filename or output}: {error.strerror or error}") from error


def in_order(pieces: Iterable[TextPiece]) -> Iterator[TextPiece]:
    """The pieces of each text after all those of the texts before it, each as soon as that lets it."""
    held: dict[int, TextPiece] = {}
    current = 0
    for piece in pieces:
        before = held.get(piece.index)
        held[piece.index] = replace(piece, text=before.text + piece.text) if before else piece
        while (ready := held.pop(current, None)) is not None:
            yield ready
            current += ready.ending is not None


def write(pieces: Iterable[TextPiece], end: str, file: TextIO) -> None:
    """Writes texts as they come, each with something behind it."""
    for piece in pieces:
        file.write(piece.text if piece.ending is None else piece.text + end)
        file.flush()


def write_json(pieces: Iterable[TextPiece], seed: int, file: TextIO) -> None:
    """Writes each text that is complete as a line of JSON; the first has the seed."""
    text = ""
    for piece in pieces:
        text += piece.text
        if piece.ending is not None:
            about = {
                "index": piece.index,
                "seed": seed_of(seed, piece.index),
                "text": text,
                "finish": piece.ending.finish,
                "tokens": piece.ending.tokens,
            }
            file.write(msgspec.json.encode(about).decode() + "\n")
            file.flush()
            text = ""
