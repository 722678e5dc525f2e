"""The registry: which kinds of network there are, and how a stored configuration finds its class.

Code that makes or reads networks takes a registry as an argument; nothing is ever loaded from a
checkpoint or a bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import torch

from charloom.errors import CharloomError
from networks.config import NetworkConfig
from networks.language_model import LanguageModel
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel


class NetworkError(CharloomError):
    """A stored configuration is of a network that this version does not have, or is malformed."""


@dataclass(frozen=True)
class Network:
    """A kind of network."""

    config: type[NetworkConfig]
    model: type[LanguageModel]


class NetworkRegistry:
    """The kinds of network by name."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = {network.config.kind: network for network in networks}
        assert len(self._networks) == len(networks), "every kind has a name of its own"

    def build(self, config: NetworkConfig, inputs: int, outputs: int) -> LanguageModel:
        """Makes a network with random weights; see `LanguageModel`.

        Raises:
            NetworkError: the registry does not have the kind.
        """
        return self._find(config.kind).model(config, inputs, outputs)

    def size(self, config: NetworkConfig, inputs: int, outputs: int) -> int:
        """Counts the trained numbers of a network without allocating them.

        Raises:
            NetworkError: the registry does not have the kind.
        """
        with torch.device("meta"):
            return self.build(config, inputs, outputs).parameter_count()

    def read(self, data: Any) -> NetworkConfig:
        """Reads what `NetworkConfig.to_json` wrote.

        Raises:
            NetworkError: the kind is unknown, the version is newer, or the rest is malformed.
        """
        if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
            raise NetworkError("it does not state the kind of its network")
        config = self._find(data["kind"]).config
        version, values = data.get("version"), data.get("config")
        if type(version) is int and version > config.version:
            raise NetworkError(
                f"its network {config.kind} has version {version}, and this Charloom reads version "
                f"{config.version}: update Charloom"
            )
        if version != config.version or not isinstance(values, dict):
            raise NetworkError(f"its network {config.kind} is malformed: it has no version or no config")
        if unknown := values.keys() - {field.name for field in fields(config)}:
            raise NetworkError(f"its network {config.kind} is malformed: it has {', '.join(sorted(unknown))}")
        try:
            return msgspec.convert(values, config)
        except (msgspec.ValidationError, CharloomError) as error:
            raise NetworkError(f"its network {config.kind} is malformed: {error}") from error

    def _find(self, kind: str) -> Network:
        if kind not in self._networks:
            known = ", ".join(self._networks)
            raise NetworkError(f"its network is of the kind {kind!r}, and this Charloom has {known}")
        return self._networks[kind]


NETWORKS = NetworkRegistry([Network(RecurrentConfig, RecurrentModel)])
"""All kinds of network that the commands know."""
