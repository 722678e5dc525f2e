"""The source of a command's model: a server or a bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from charloom.connection import Connection
from charloom.errors import require
from charloom.ranges import check_ranges
from serving.commands.text_model import TextModel
from serving.engine.config import Device, RunnerConfig, RunnerPrecision


@dataclass(frozen=True)
class Source:
    """Options that say where the model is."""

    address: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = ()
    """HOST:PORT of a server. Repeat the option for several servers of the same models: a text whose server
    fails goes on at another."""
    connection: Annotated[Connection, Parameter(name="*")] = Connection()
    bundle: Path | None = None
    """Directory of a bundle, to run the model in this process instead of asking a server."""
    model: str = ""
    """Name of the model, on a server of several."""
    device: Device = "auto"
    """Device for --bundle; auto takes a GPU if onnxruntime finds one that works, else the CPU."""
    precision: RunnerPrecision = "auto"
    """Precision for --bundle; auto takes the fastest in the bundle that the device runs well."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @contextmanager
    def open(self) -> Iterator[TextModel]:
        """Connects to the server, or loads the bundle.

        Raises:
            ConfigError: neither or both are given, or an option that is of no use to the one that is.
            CharloomError: the bundle cannot be used.
        """
        one = bool(self.address) == (self.bundle is None)
        require(one, "address and bundle", "exclude each other, and one is needed")
        require(not (self.bundle and self.model), "model", "is for --address: a bundle holds one model")
        for name in ("device", "precision"):
            local = self.bundle is not None or getattr(self, name) == "auto"
            require(local, name, "is for --bundle: a server has its own")
        if self.address:
            # gRPC, which who has a bundle may not have.
            from charloom.client import Client
            from serving.commands.remote import RemoteModel

            tls, token = self.connection.encryption, self.connection.bearer
            with Client(self.address, tls=tls, token=token) as client:
                yield RemoteModel(client, self.model)
        elif self.bundle is not None:
            # onnxruntime, which a client may not have.
            from serving.local import LocalModel

            yield LocalModel(self.bundle, RunnerConfig(self.device, self.precision))
