"""The `similar` command: which lines are most like a text, to a model."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from msgspec import Meta

from charloom.printable import printable
from charloom.ranges import check_arguments
from serving.commands.input_texts import InputText, groups, named, read_input_texts
from serving.commands.labels import LabelWords, chosen_labels
from serving.commands.output import destination
from serving.commands.source import Source


def similar(
    text: str,
    candidates: Path | None = None,
    /,
    *,
    source: Annotated[Source, Parameter(name="*")] = Source(),
    label: LabelWords = (),
    n: Annotated[int, Meta(ge=1), Parameter(name=["--n", "-n"])] = 10,
    skip_unknown: bool = False,
    json: bool = False,
) -> None:
    """Find the lines most like a text to a model, on a server (--address) or in a bundle (--bundle).

    Likeness is the inner product of the vectors in which the model holds the two texts: at most 1. A
    file or a pipe gets it with the line's file, number and text, between tabs.

    Args:
        text: Text to compare with.
        candidates: UTF-8 file of lines to choose from; standard input if none is named.
        source: Where the model is.
        label: Value of a label of the records, by its name or in the model's order; once for each label.
        n: Lines to find, the most similar first.
        skip_unknown: Leave out characters that the model does not know, instead of refusing the text.
        json: Write a JSON object a line, for programs.
    """
    check_arguments(similar, n=n)
    files = [candidates] if candidates is not None else []
    with source.open() as model, destination() as file:
        labels = chosen_labels(label, lambda: model.label_columns)
        embed = partial(model.embed, labels=labels, skip_unknown=skip_unknown)
        compared = compare(embed, text, read_input_texts(files, lines=True))
        for similarity, found in heapq.nlargest(n, compared, key=lambda pair: pair[0]):
            if json:
                line = as_json(similarity, found)
            elif file.isatty():
                line = f"{similarity:9.6f}  {printable(found.text, strict=True)}\n"
            else:
                line = "\t".join([f"{similarity:.6f}", *found.columns]) + "\n"
            file.write(line)


def compare(
    embed: Callable[[Sequence[str]], list[list[float]]], text: str, candidates: Iterator[InputText]
) -> Iterator[tuple[float, InputText]]:
    """How similar each candidate is to a text.

    Raises:
        TextError: one of them has no vector.
    """
    import numpy as np  # which takes longer than all that `--help` needs

    with named([InputText(text, "the text")]):
        target = np.array(embed([text])[0])
    for group in groups(candidates):
        with named(group):
            vectors = embed([one.text for one in group])
        # One by one: the last bit of a product with a matrix would hang on how the texts are grouped.
        yield from zip([float(np.array(vector) @ target) for vector in vectors], group, strict=True)


def as_json(similarity: float, text: InputText) -> str:
    """A line of JSON."""
    found = {
        "similarity": similarity,
        "file": printable(text.file, strict=True),
        "line": text.line,
        "text": text.text,
    }
    return msgspec.json.encode(found).decode() + "\n"
