"""The `generate` command: text to standard output, from a server or straight from a bundle.

Standard output gets the text alone, so that it pipes; everything else goes to standard error.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TextIO

from cyclopts import Parameter

from charloom.errors import CharloomError, ConfigError
from charloom.flags import Flags
from charloom.options import GenerateOptions, check, choose_seed, seed_of

Pieces = Iterator[tuple[int, str, bool]]
"""Pieces of n texts as they are made: index of the text, what was added, whether it is complete."""

MOST_TEXTS = 64
"""Texts that are asked of a server at the same time."""


class OutputError(CharloomError):
    """The output file cannot be written."""


def generate(
    *,
    address: str | None = None,
    bundle: Path | None = None,
    prompt: str = "",
    n: Annotated[int, Parameter(name=["--n", "-n"])] = 1,
    output: Path | None = None,
    model: str = "",
    precision: Literal["auto", "float32", "int8"] = "auto",
    options: Annotated[Flags, Parameter(name="*")] = Flags(),
) -> None:
    """Generate text from a server (--address) or straight from a bundle (--bundle).

    Parameters
    ----------
    address
        HOST:PORT of a server.
    bundle
        Directory of a bundle; no server is needed.
    prompt
        Text to continue; it is not repeated in the output.
    n
        How many texts (at least 1); each next one has the next seed.
    output
        File to write to instead of standard output.
    model
        Name of the model, on a server of several.
    precision
        Of a bundle that holds several; auto takes the fastest that this processor runs well.
    """
    if (address is None) == (bundle is None):
        raise ConfigError("address and bundle", "exclude each other, and one is needed")
    check(options, n)
    if options.seed is None:
        options = replace(options, seed=choose_seed())
        print(f"charloom: seed {options.seed}", file=sys.stderr)  # noqa: T201
    if address is not None:
        pieces = from_server(address, model, prompt, options, n)
    else:
        assert bundle is not None, "one of the two is given"
        pieces = from_bundle(bundle, precision, prompt, options, n)
    with destination(output) as file:
        write(pieces, n, file)


def from_bundle(
    bundle: Path,
    precision: Literal["auto", "float32", "int8"],
    prompt: str,
    options: GenerateOptions,
    n: int,
) -> Pieces:
    """Generates in this process."""
    # They need onnxruntime, which a client may not have.
    from serving.engine.runner import RunnerConfig
    from serving.local import LocalModel

    return LocalModel(bundle, RunnerConfig(precision=precision)).stream(prompt, options, n=n)


def from_server(address: str, model: str, prompt: str, options: GenerateOptions, n: int) -> Pieces:
    """Asks a server for several texts at a time, for fewer where it has not room for so many."""
    from charloom.client import Client, RequestError  # a user of bundles may not have gRPC

    assert options.seed is not None, "the seed is chosen by now"
    done, most = 0, MOST_TEXTS
    with Client(address) as client:
        while done < n:
            count = min(n - done, most)
            seeded = replace(options, seed=seed_of(options.seed, done))
            generation = client.generate(prompt, model=model, n=count, **vars(seeded))
            try:
                for piece in generation.pieces():
                    yield done + piece.index, piece.text, piece.index in generation.endings
                done += count
            except RequestError as error:  # before any text, where there was no room for so many
                too_many = {violation.field for violation in error.violations} == {"n"}
                if not too_many and (error.code.name != "RESOURCE_EXHAUSTED" or error.retry_after is None):
                    raise
                most = max(1, count // 2)
                time.sleep(error.retry_after or 0)


@contextmanager
def destination(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears only once it is whole.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        if path is None:
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
            yield sys.stdout
            sys.stdout.flush()
        elif path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="") as file:  # a device, a pipe
                yield file
        else:
            with whole(path.resolve()) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path or 'standard output'}: {error.strerror}") from error


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """A file under another name until all of it is written."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
