"""All options of a training run in one place, and their form in JSON. Nothing here needs torch."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import Parameter

from charloom.records.config import RecordsConfig
from charloom.tokens_config import TokensConfig
from networks.recurrent.config import RecurrentConfig
from training.config import HardwareConfig, OptimizerConfig, RegularisationConfig, RunConfig
from training.data.config import BatchConfig, CorpusConfig
from training.reporting.config import PreviewConfig, ReportConfig, RunLogConfig

if TYPE_CHECKING:
    from networks.registry import NetworkRegistry

DefaultNetwork = RecurrentConfig
"""The network that the command line trains."""

FLAT = Parameter(name="*")
"""On the command line an option goes by its own name, without its group's."""


CHANGEABLE = {
    "epochs",
    "max_minutes",
    "patience",
    "save_minutes",
    "keep",
    "device",
    "precision",
    "threads",
    "preview_temperatures",
    "preview_length",
    "print_every",
    "metrics_every",
    "tensorboard",
}
"""Options that may change when a run is resumed."""


@dataclass(frozen=True)
class Options:
    """Everything a run is trained with. No two groups have an option of the same name."""

    model: Annotated[DefaultNetwork, FLAT] = field(default_factory=DefaultNetwork)
    """Kind and size of the network; from Python it may be of any kind in the registry."""
    regularisation: Annotated[RegularisationConfig, FLAT] = field(default_factory=RegularisationConfig)
    records: Annotated[RecordsConfig, FLAT] = field(default_factory=RecordsConfig)
    tokens: Annotated[TokensConfig, FLAT] = field(default_factory=TokensConfig)
    corpus: Annotated[CorpusConfig, FLAT] = field(default_factory=CorpusConfig)
    batches: Annotated[BatchConfig, FLAT] = field(default_factory=BatchConfig)
    optimizer: Annotated[OptimizerConfig, FLAT] = field(default_factory=OptimizerConfig)
    run: Annotated[RunConfig, FLAT] = field(default_factory=RunConfig)
    hardware: Annotated[HardwareConfig, FLAT] = field(default_factory=HardwareConfig)
    preview: Annotated[PreviewConfig, FLAT] = field(default_factory=PreviewConfig)
    report: Annotated[ReportConfig, FLAT] = field(default_factory=ReportConfig)
    run_log: Annotated[RunLogConfig, FLAT] = field(default_factory=RunLogConfig)

    def groups(self) -> dict[str, dict[str, Any]]:
        """Returns the options by group."""
        return asdict(self)

    def flat(self) -> dict[str, Any]:
        """Returns every option by its name alone, as the command line has it."""
        return {name: value for group in self.groups().values() for name, value in group.items()}

    def defaults(self) -> "Options":
        """Returns the defaults of all options, for the same kind of network."""
        return Options(model=type(self.model)())

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Returns the options by group; the network is tagged with its kind and version."""
        return self.groups() | {"model": self.model.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any], networks: "NetworkRegistry") -> "Options":
        """Reads what `to_json` wrote.

        Raises:
            NetworkError: the network is of an unknown kind or a newer version, or malformed.
            KeyError, TypeError, ValueError: the rest is malformed.
        """
        groups: dict[str, Any] = {"model": networks.read(data["model"])}
        for name, config in get_type_hints(cls).items():
            if name not in groups:
                values = {k: tuple(v) if isinstance(v, list) else v for k, v in data[name].items()}
                groups[name] = config(**values)
        return cls(**groups)
