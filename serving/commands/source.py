"""Where a command's model is: behind a server's address, or in a bundle. Commands see no difference."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from cyclopts import Parameter

from charloom.connection import Connection
from charloom.errors import require
from charloom.options import GenerateOptions
from charloom.score import Score

Pieces = Iterator[tuple[int, str, bool]]
"""Pieces of n texts as they are made: index of the text, what was added, whether it is complete."""


class Texts(Protocol):
    """A model as commands use it."""

    def stream(self, prompt: str, options: GenerateOptions, *, n: int = 1) -> Pieces:
        """Generates n texts."""
        ...

    def score(self, texts: Sequence[str], prompt: str = "", *, skip_unknown: bool = False) -> list[Score]:
        """Gives the log-probability of each token of each text, read after the prompt."""
        ...

    def embed(self, texts: Sequence[str], *, skip_unknown: bool = False) -> list[list[float]]:
        """Gives a vector of length 1 for each text."""
        ...


@dataclass(frozen=True)
class Source:
    """A server or a bundle."""

    address: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """HOST:PORT of a server; given several times, of several that serve the same, and a text that loses its
    server goes on with another."""
    connection: Annotated[Connection, Parameter(name="*")] = Connection()
    bundle: Path | None = None
    """Directory of a bundle; no server is needed."""
    model: str = ""
    """Name of the model, on a server of several."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of a bundle; auto takes CUDA where onnxruntime has it and it works, else the CPU."""
    precision: Literal["auto", "float32", "int8"] = "auto"
    """Of a bundle that holds several; auto takes the fastest that this processor runs well."""

    @contextmanager
    def open(self) -> Iterator[Texts]:
        """The model.

        Raises:
            ConfigError: neither or both are given.
            CharloomError: the bundle cannot be used.
        """
        one = bool(self.address) == (self.bundle is None)
        require(one, "address and bundle", "exclude each other, and one is needed")
        if self.address:
            # A user of bundles may not have gRPC.
            from charloom.client import Client
            from serving.commands.remote import RemoteModel

            tls, token = self.connection.encryption, self.connection.token
            with Client(self.address, tls=tls, token=token) as client:
                yield RemoteModel(client, self.model)
        elif self.bundle is not None:
            # They need onnxruntime, which a client may not have.
            from serving.engine.config import RunnerConfig
            from serving.local import LocalModel

            yield LocalModel(self.bundle, RunnerConfig(self.device, self.precision))
