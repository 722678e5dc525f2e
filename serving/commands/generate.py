"""The `generate` command: text to standard output, from a server or straight from a bundle or a training.

Standard output gets the text alone, so that it pipes; everything else goes to standard error.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter
from msgspec import Meta

from charloom.flags import Flags
from charloom.options import check, choose_seed
from serving.commands.output import destination
from serving.commands.source import Source
from serving.commands.text_model import Pieces


def generate(
    *,
    source: Annotated[Source, Parameter(name="*")] = Source(),
    prompt: str = "",
    n: Annotated[int, Meta(ge=1), Parameter(name=["--n", "-n"])] = 1,
    output: Path | None = None,
    options: Annotated[Flags, Parameter(name="*")] = Flags(),
) -> None:
    """Generate text from a server (--address), a bundle (--bundle) or a training (--checkpoint).

    Args:
        source: Where the model is.
        prompt: Text to continue; it is not repeated in the output.
        n: Texts to generate; each has the seed after that of the one before it.
        output: File to write to instead of standard output.
        options: How to generate.
    """
    check(options, n)
    with source.open() as model, destination(output) as file:
        if options.seed is None:
            options = replace(options, seed=choose_seed())
            print(f"charloom: seed {options.seed}", file=sys.stderr)  # noqa: T201
        write(model.stream(prompt, options, n=n), n, file)


def write(pieces: Pieces, n: int, file: TextIO) -> None:
    """Writes the texts in order, each as it is made once those before it are out.

    A single text is written as it is; of several, each is ended by a newline.
    """
    end = "\n" if n > 1 or file.isatty() else ""
    held: dict[int, str] = {}
    complete: set[int] = set()
    current = 0
    for index, text, final in pieces:
        held[index] = held.get(index, "") + text
        if final:
            complete.add(index)
        while current in held:
            file.write(held.pop(current))
            if current not in complete:
                break
            file.write(end)
            current += 1
        file.flush()
