"""All options of a training run in one place, and their form in JSON.

Each group is defined beside the code that it governs; here they only come together.
"""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter

from networks.recurrent import ModelConfig
from training.data.batches import BatchConfig
from training.data.corpus import CorpusConfig
from training.hardware import HardwareConfig
from training.optimizer import OptimizerConfig
from training.regularisation import RegularisationConfig
from training.reporting.logbook import LogbookConfig
from training.reporting.preview import PreviewConfig
from training.reporting.report import ReportConfig
from training.schedule import RunConfig

FLAT = Parameter(name="*")
"""On the command line an option goes by its own name, without its group's."""


@dataclass(frozen=True)
class Options:
    """What a run is trained with. No two groups have an option of the same name."""

    model: Annotated[ModelConfig, FLAT] = field(default_factory=ModelConfig)
    regularisation: Annotated[RegularisationConfig, FLAT] = field(default_factory=RegularisationConfig)
    corpus: Annotated[CorpusConfig, FLAT] = field(default_factory=CorpusConfig)
    batches: Annotated[BatchConfig, FLAT] = field(default_factory=BatchConfig)
    optimizer: Annotated[OptimizerConfig, FLAT] = field(default_factory=OptimizerConfig)
    run: Annotated[RunConfig, FLAT] = field(default_factory=RunConfig)
    hardware: Annotated[HardwareConfig, FLAT] = field(default_factory=HardwareConfig)
    preview: Annotated[PreviewConfig, FLAT] = field(default_factory=PreviewConfig)
    report: Annotated[ReportConfig, FLAT] = field(default_factory=ReportConfig)
    logbook: Annotated[LogbookConfig, FLAT] = field(default_factory=LogbookConfig)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The options by group."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, dict[str, Any]]) -> "Options":
        """Reads back what `to_json` made.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        groups = {}
        for name, config in get_type_hints(cls).items():
            # A run of an older Charloom has no options of how to report.
            given = data.get(name, {}) if name in ("report", "logbook") else data[name]
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
            groups[name] = config(**values)
        return cls(**groups)

    def flat(self) -> dict[str, Any]:
        """Every option by its name alone, as the command line knows it."""
        return {name: value for group in asdict(self).values() for name, value in group.items()}
