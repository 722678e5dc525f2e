"""The options of a sweep's study: how trials are chosen, and where they are kept."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from charloom.ranges import check_ranges

PrunerName = Literal["median", "hyperband", "none"]


@dataclass(frozen=True)
class StudyConfig:
    """How trials are chosen, and where they are kept."""

    trials: Annotated[int, Meta(ge=1)] = 20
    """Trials in total, over all processes."""
    trial_minutes: Annotated[float, Meta(ge=0)] = 0
    """Minutes that a trial may take, as --max-minutes for a single run; 0 sets no limit."""
    pruner: PrunerName = "median"
    """Rule that ends trials early which do worse than others did."""
    storage: str = ""
    """URL of the database, such as postgresql+psycopg://user@host/name, instead of a file in the folder."""
    study: str = ""
    """Name of the sweep in the database, if it is not that of the folder."""
    stale_seconds: Annotated[int, Meta(ge=2)] = 60
    """Seconds without a heartbeat after which a trial's process counts as dead."""

    def __post_init__(self) -> None:
        check_ranges(self)
