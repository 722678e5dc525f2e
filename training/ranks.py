"""Ranks: the processes of one training, each with its own share of the lanes, on one machine or many.

torchrun starts them and says in the environment who each of them is. Every one holds the whole model;
gradients are averaged over all, so that all take the same step. The first rank alone decides, writes
and reports. A training of one process is the first rank of one, for which nothing here has a cost.
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
"""How long ranks wait for one that neither arrives nor has ended."""

ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables by which ranks find each other."""


class LostRankError(CharloomError):
    """Another process of the training has ended or cannot be reached."""

    exit_code = 16


@dataclass
class Ranks:
    """One of the processes of a training; as a context, it is connected with the others."""

    rank: int = 0
    world: int = 1
    """Number of all processes."""
    local: int = 0
    """Number of this process among those on this machine."""
    local_world: int = 1
    """Number of processes on this machine."""
    restarts: int = 0
    """How often torchrun has restarted all of them."""
    job: str = ""
    """Identifies this training, and stays the same when torchrun restarts it."""
    _messages: dist.ProcessGroup | None = field(default=None, init=False, repr=False, compare=False)
    """The group for messages; gradients go through the default one."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Ranks":
        """Reads the rank of this process from its environment; alone, if that has none."""
        if not all(environment.get(name) for name in ADDRESS):
            return cls()
        numbers = {
            field: int(environment.get(name) or default)
            for field, name, default in (
                ("rank", "RANK", 0),
                ("world", "WORLD_SIZE", 1),
                ("local", "LOCAL_RANK", 0),
                ("local_world", "LOCAL_WORLD_SIZE", 1),
                ("restarts", "TORCHELASTIC_RESTART_COUNT", 0),
            )
        }
        # The parent is torchrun, which outlives the ranks that it starts again.
        run = environment.get("TORCHELASTIC_RUN_ID", "")
        return cls(**numbers, job=f"{run} {socket.gethostname()} {os.getppid()}")

    @property
    def first(self) -> bool:
        """Whether this is the rank that decides, writes and reports."""
        return self.rank == 0

    def __enter__(self) -> "Ranks":
        if self.world > 1:
            # Between processors, even where gradients go from GPU to GPU: waiting for a message of the
            # others must not mean waiting for the GPU.
            with connecting():
                dist.init_process_group("gloo", timeout=PATIENCE)
                self._messages = dist.new_group(backend="gloo", timeout=PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.world == 1:
            return
        # A thread of gloo's that still lets go of a tensor when Python ends aborts the process, so they
        # are to end first. Those of the default group do not: PyTorch keeps what a replicated model used.
        dist.destroy_process_group(self._messages)
        self._messages = None
        dist.destroy_process_group()
        if is_loss(error):
            raise LostRankError(
                "another process of this training has ended, or cannot be reached any more; "
                "the reason is in what it printed last"
            ) from error

    def rows(self, count: int) -> range:
        """Returns this rank's share of the rows of a batch: every so many-th, from its own number on."""
        return range(self.rank, count, self.world)

    def lanes(self, batch: int) -> range:
        """Returns the rows of a batch that this rank reads.

        Raises:
            ConfigError: they cannot be divided evenly, and all ranks weigh the same in what is averaged.
        """
        require(
            batch % self.world == 0,
            "batch",
            f"is {batch}, and has to be a multiple of {self.world}, the number of processes that share it",
        )
        return self.rows(batch)

    def replicate(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wraps a model: it gets the first rank's weights, and its gradients are averaged over all ranks."""
        if self.world == 1:
            return model
        group = dist.new_group(backend="nccl", timeout=PATIENCE) if device.type == "cuda" else None
        return DistributedDataParallel(model, process_group=group)

    def from_first(self, make: Callable[[], T]) -> T:
        """Calls `make` on the first rank and returns the result on all; if it fails, the others end silently.

        Raises:
            CharloomError: from `make`, on the first rank.
        """
        if self.world == 1:
            return make()
        if not self.first:
            value, code = self._broadcast(None)
            if code is not None:
                self._end_after_first(code)
            return value  # type: ignore[no-any-return]
        try:
            value = make()
        except CharloomError as error:
            self._broadcast((None, error.exit_code))
            raise
        self._broadcast((value, None))
        return value

    def highest(self, *numbers: float) -> list[float]:
        """Returns, place by place, the highest of all ranks' numbers."""
        if self.world == 1:
            return list(numbers)
        highest = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(highest, dist.ReduceOp.MAX, self._messages)
        return highest.tolist()

    def total(self, number: float) -> float:
        """Sums a number over all ranks, with the same bits on each."""
        if self.world == 1:
            return number
        parts = [torch.zeros((), dtype=torch.float64) for _ in range(self.world)]
        dist.all_gather(parts, torch.tensor(number, dtype=torch.float64), self._messages)
        return sum(float(part) for part in parts)

    def gathered(self, part: Tensor) -> Tensor:
        """Gathers the rows [B, ...] of all ranks on the first one, on the CPU; others get their own back."""
        if self.world == 1:
            return part
        part = part.cpu().contiguous()
        parts = [torch.empty_like(part) for _ in range(self.world)] if self.first else None
        dist.gather(part, parts, group=self._messages)
        return torch.stack(parts, 1).flatten(0, 1) if parts else part

    @contextmanager
    def error_once(self, *kinds: type[CharloomError]) -> Iterator[None]:
        """Lets only the first rank print errors of kinds that all ranks raise alike."""
        try:
            yield
        except kinds as error:
            if self.first:
                raise
            self._end_after_first(error.exit_code)

    def _broadcast(self, message: Any) -> Any:
        """Returns on all ranks the message of the first one."""
        messages = [message]
        dist.broadcast_object_list(messages, src=0, group=self._messages)
        return messages[0]

    def _end_after_first(self, code: int) -> NoReturn:
        """Ends this rank after the first one, which torchrun might otherwise end before it prints why."""
        with suppress(RuntimeError):
            dist.barrier(self._messages)  # to which the first one does not come
        sys.exit(code)


ALONE = Ranks()
"""A training of one process."""


@contextmanager
def connecting() -> Iterator[None]:
    """Turns PyTorch's error for ranks that do not find each other into a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(f"the processes of this training do not find each other: {error}") from error


def is_loss(error: BaseException | None) -> bool:
    """Returns whether an error is that of PyTorch when another rank is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
