"""Ranks: the processes of one training, each with its own share of the lanes, on one machine or many.

torchrun starts them and says in the environment who each of them is. Every one holds the whole model;
gradients are averaged over all, so that all take the same step. The first rank alone decides, writes
and speaks. A training that nobody divided is the first rank of one, for which nothing here has a cost.

It knows nothing of texts or checkpoints.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from charloom.errors import CharloomError, require

T = TypeVar("T")

PATIENCE = timedelta(hours=1)
"""How long ranks wait for one that does not come, and has not ended either."""

ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What ranks need to know to find each other."""


class LostRankError(CharloomError):
    """Another process of the training has ended or cannot be reached."""

    exit_code = 16


@dataclass
class Ranks:
    """One of the processes of a training; within it as a context it is joined with the others."""

    rank: int = 0
    world: int = 1
    """Processes in all."""
    local: int = 0
    """Which of the processes on this machine it is."""
    neighbours: int = 1
    """Processes on this machine."""
    restarts: int = 0
    """How often torchrun has started all of them again."""
    job: str = ""
    """What tells this training from others, and stays the same when it is started again."""
    _words: dist.ProcessGroup | None = field(default=None, init=False, repr=False, compare=False)
    """The group in which they tell each other things; gradients go through the default one."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Ranks":
        """Who this process is by its environment; alone, if that does not say."""
        if not all(environment.get(name) for name in ADDRESS):
            return cls()
        numbers = {
            field: int(environment.get(name) or default)
            for field, name, default in (
                ("rank", "RANK", 0),
                ("world", "WORLD_SIZE", 1),
                ("local", "LOCAL_RANK", 0),
                ("neighbours", "LOCAL_WORLD_SIZE", 1),
                ("restarts", "TORCHELASTIC_RESTART_COUNT", 0),
            )
        }
        # The parent is torchrun, which outlives the ranks that it starts again.
        run = environment.get("TORCHELASTIC_RUN_ID", "")
        return cls(**numbers, job=f"{run} {socket.gethostname()} {os.getppid()}")

    @property
    def first(self) -> bool:
        """Whether this is the one that decides, writes and speaks."""
        return self.rank == 0

    def __enter__(self) -> "Ranks":
        if self.world > 1:
            # Between processors, even where gradients go from GPU to GPU: waiting for a word of the
            # others must not mean waiting for the GPU.
            with found():
                dist.init_process_group("gloo", timeout=PATIENCE)
                self._words = dist.new_group(backend="gloo", timeout=PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.world == 1:
            return
        # A thread of gloo's that still lets go of a tensor when Python ends aborts the process, so they
        # are to end first. Those of the default group do not: PyTorch keeps what a replicated model used.
        dist.destroy_process_group(self._words)
        self._words = None
        dist.destroy_process_group()
        if is_loss(error):
            raise LostRankError(
                "another process of this training has ended, or cannot be reached any more; "
                "the reason is in what it said last"
            ) from error

    def share(self, count: int) -> range:
        """Which of `count` things, such as lanes, are this rank's; as even as can be."""
        return range(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def lanes(self, batch: int) -> range:
        """The lanes that this rank reads of a batch.

        Raises:
            ConfigError: they cannot be divided evenly, and all ranks weigh the same in what is averaged.
        """
        require(
            batch % self.world == 0,
            "batch",
            f"is {batch}, and has to be a multiple of {self.world}, the number of processes that share it",
        )
        return self.share(batch)

    def replicate(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as training calls it: with the first rank's weights, its gradients averaged over all."""
        if self.world == 1:
            return model
        group = dist.new_group(backend="nccl", timeout=PATIENCE) if device.type == "cuda" else None
        return DistributedDataParallel(model, process_group=group)

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first rank makes, for all; if it cannot, it says so and the others just end.

        Raises:
            CharloomError: from `make`, on the first rank.
        """
        if self.world == 1:
            return make()
        if not self.first:
            value, code = self._heard(None)
            if code is not None:
                self._end_after_first(code)
            return value  # type: ignore[no-any-return]
        try:
            value = make()
        except CharloomError as error:
            self._heard((None, error.exit_code))
            raise
        self._heard((value, None))
        return value

    def highest(self, *numbers: float) -> list[float]:
        """The highest of all ranks' numbers, each with its like."""
        if self.world == 1:
            return list(numbers)
        highest = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(highest, dist.ReduceOp.MAX, self._words)
        return highest.tolist()

    def total(self, number: float) -> float:
        """The sum of all ranks' numbers, to the bit the same on all of them."""
        if self.world == 1:
            return number
        parts = [torch.zeros((), dtype=torch.float64) for _ in range(self.world)]
        dist.all_gather(parts, torch.tensor(number, dtype=torch.float64), self._words)
        return sum(float(part) for part in parts)

    def gathered(self, part: Tensor) -> Tensor:
        """Gathers the parts [B, ...] of all ranks on the first one, on the CPU; others get their own back."""
        if self.world == 1:
            return part
        part = part.cpu().contiguous()
        parts = [torch.empty_like(part) for _ in range(self.world)] if self.first else None
        dist.gather(part, parts, group=self._words)
        return torch.cat(parts) if parts else part

    @contextmanager
    def one_voice(self, *kinds: type[CharloomError]) -> Iterator[None]:
        """Within it, errors of kinds that come to all ranks alike are told by the first alone."""
        try:
            yield
        except kinds as error:
            if self.first:
                raise
            self._end_after_first(error.exit_code)

    def _heard(self, word: Any) -> Any:
        """On all ranks, what the first one says."""
        words = [word]
        dist.broadcast_object_list(words, src=0, group=self._words)
        return words[0]

    def _end_after_first(self, code: int) -> NoReturn:
        """Ends this rank when the first one has left; torchrun might not let it say why, otherwise."""
        with suppress(RuntimeError):
            dist.barrier(self._words)  # to which the first one does not come
        sys.exit(code)


ALONE = Ranks()
"""A training that is not divided."""


@contextmanager
def found() -> Iterator[None]:
    """Within it, ranks that do not find each other become a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(f"the processes of this training do not find each other: {error}") from error


def is_loss(error: BaseException | None) -> bool:
    """Whether an error is that of PyTorch when another rank is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
