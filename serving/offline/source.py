"""The source of attempts: a model that runs attempts in large numbers, wherever it is."""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

from serving.offline.attempt import Attempt

if TYPE_CHECKING:
    from charloom.novelty import NoveltyFilter  # numpy, which --help can do without


class AttemptSource(Protocol):
    """Runs the attempts of one prompt, one seed and the same options."""

    @property
    def model(self) -> str:
        """The digest of the model's bundle."""
        ...

    @property
    def execution_class(self) -> str:
        """The class within which the same attempt gives the same bytes."""
        ...

    @property
    def can_end(self) -> bool:
        """Whether anything but its full length can end an attempt: the end of a record, or a stop."""
        ...

    @property
    def delimiter(self) -> str | None:
        """What was between the records of the training text; None if nothing was."""
        ...

    @property
    def novelty(self) -> "NoveltyFilter | None":
        """The filter of the training text's records; None if the bundle has none."""
        ...

    @property
    def lacks_novelty(self) -> str:
        """Why there is no such filter, and what to do; for the error of `--novel`."""
        ...

    @property
    def computed(self) -> int:
        """Tokens computed so far, those included that no attempt has: steps of a burst after its end."""
        ...

    def attempts(self, numbers: range) -> Generator[Sequence[Attempt], None, None]:
        """Yields the attempts of these numbers in their order, some at a time, until it is closed.

        Raises:
            CharloomError: the model failed.
        """
        ...
