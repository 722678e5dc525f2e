"""The source of a command's model: a server, a bundle, or a checkpoint of a training."""

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from charloom.connection import Connection
from charloom.errors import require
from charloom.ranges import check_ranges
from serving.commands.text_model import TextModel
from serving.engine.config import Device, RunnerConfig, RunnerPrecision

if TYPE_CHECKING:
    from charloom.bundle import Bundle

BUILDER = "export.exporter:build_bundle"
"""What makes a bundle of a checkpoint; it needs torch, and is imported when it is called."""


@dataclass(frozen=True)
class Source:
    """Options that say where the model is."""

    address: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = ()
    """HOST:PORT of a server. Repeat the option for several servers of the same models: a text whose server
    fails goes on at another."""
    connection: Annotated[Connection, Parameter(name="*")] = Connection()
    bundle: Path | None = None
    """Directory of a bundle, to run the model in this process instead of asking a server."""
    checkpoint: Path | None = None
    """Folder of a run, for its best checkpoint, or of one checkpoint, to run its model without an export."""
    model: str = ""
    """Name of the model, on a server of several."""
    device: Device = "auto"
    """Device for --bundle and --checkpoint; auto takes a GPU if onnxruntime finds one that works, else the
    CPU."""
    precision: RunnerPrecision = "auto"
    """Precision for --bundle and --checkpoint; auto takes the fastest in a bundle that the device runs
    well, and float32 for a checkpoint."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @contextmanager
    def open(self) -> Iterator[TextModel]:
        """Connects to the server, or loads the bundle or the checkpoint.

        Raises:
            ConfigError: none or several are given, or an option that is of no use to the one that is.
            CharloomError: the bundle or the checkpoint cannot be used.
        """
        one = bool(self.address) + (self.bundle is not None) + (self.checkpoint is not None) == 1
        require(one, "address, bundle and checkpoint", "exclude each other, and one is needed")
        require(bool(self.address) or not self.model, "model", "is for --address: there is one model alone")
        for name in ("device", "precision"):
            local = not self.address or getattr(self, name) == "auto"
            require(local, name, "is for --bundle and --checkpoint: a server has its own")
        if self.address:
            # gRPC, which who has a bundle may not have.
            from charloom.client import Client
            from serving.commands.remote import RemoteModel

            tls, token = self.connection.encryption, self.connection.bearer
            with Client(self.address, tls=tls, token=token) as client:
                yield RemoteModel(client, self.model)
        else:
            # onnxruntime, which a client may not have.
            from serving.local import LocalModel

            yield LocalModel(self._local(), RunnerConfig(self.device, self.precision))

    def _local(self) -> "Path | Bundle":
        """The bundle, or what the exporter makes of the checkpoint, in memory."""
        if self.bundle is not None:
            return self.bundle
        precision = "float32" if self.precision == "auto" else self.precision
        built: Bundle = pkgutil.resolve_name(BUILDER)(self.checkpoint, [precision])
        return built
