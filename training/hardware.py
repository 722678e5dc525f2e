"""The hardware that trains: device, precision and threads, resolved once and written down.

The choice follows from the machine's abilities alone, never from timing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from charloom.errors import CharloomError, require
from charloom.processor import available_cores
from training.config import HardwareConfig
from training.ranks import ALONE, Ranks

MOST_THREADS = 8
"""Threads beyond which a recurrent step is too small to divide."""

CUDNN = 91300
"""The first cuDNN whose recurrent layers compute in bfloat16."""

ROOM = 4
"""A text is kept on a GPU if it takes at most one part in so many of the memory that is free."""


class DeviceError(CharloomError):
    """The requested device or precision is not available."""

    exit_code = 8


class OutOfMemoryError(CharloomError):
    """The model or a step of it does not fit into memory."""

    exit_code = 15


@dataclass(frozen=True)
class Hardware:
    """The device a run trains on, its precision and threads."""

    device: torch.device
    bfloat16: bool
    threads: int
    processes: int = 1
    """Number of processes that train together, each on a device like this one."""

    @property
    def precision(self) -> str:
        """Name of the precision of products."""
        return "bfloat16" if self.bfloat16 else "float32"

    @property
    def name(self) -> str:
        """Name of the device."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return str(torch.cpu.get_capabilities().get("cpu_name", "CPU"))

    def autocast(self) -> AbstractContextManager[Any]:
        """Makes a context in which models compute in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def held(self, text: Tensor) -> Tensor:
        """Copies token ids [n] to the device if they fit there, else returns them as they are."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what a trial of a sweep before this one left
            if text.nbytes * ROOM > torch.cuda.mem_get_info(self.device)[0]:
                return text
        return text.to(self.device)

    def taken(self, numbers: Tensor) -> Tensor:
        """Copies numbers to the device without waiting for the copy."""
        if numbers.device.type != "cpu" or self.device.type == "cpu":
            return numbers
        return numbers.pin_memory().to(self.device, non_blocking=True)

    def summary(self) -> dict[str, Any]:
        """Describes the hardware for a checkpoint."""
        return {
            "device": self.device.type,
            "name": self.name,
            "precision": self.precision,
            "threads": self.threads,
            "processes": self.processes,
            "torch": torch.__version__,
        }


def resolve(config: HardwareConfig, ranks: Ranks = ALONE) -> Hardware:
    """Settles what `auto` means on this machine for one of its ranks, and sets the number of threads.

    Raises:
        ConfigError: the machine has fewer cores than there shall be threads. Only here is that
            known: the options of a run may come from another machine.
        DeviceError: a GPU is asked for and PyTorch sees none, or fewer than there are ranks, or the
            device does not compute in the precision that is asked for.
    """
    cores = os.cpu_count() or 1
    require(config.threads <= cores, "threads", f"must be at most {cores}, the cores of this machine")
    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise DeviceError(f"device cuda: PyTorch {torch.__version__} sees no GPU here; try --device cpu")
    torch.set_num_threads(config.threads or spare_threads(ranks.local_world))
    device = gpu(ranks) if cuda and config.device != "cpu" else torch.device("cpu")
    able = computes_bfloat16(device)
    if config.precision == "bfloat16" and not (able or (device.type == "cpu" and emulates_bfloat16())):
        what = "GPU, or its cuDNN," if device.type == "cuda" else "CPU"
        raise DeviceError(f"precision bfloat16: this {what} does not compute in it; try --precision float32")
    bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and able)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 in all layers
    return Hardware(device, bfloat16, torch.get_num_threads(), ranks.world)


def gpu(ranks: Ranks) -> torch.device:
    """Returns the GPU of a rank.

    Raises:
        DeviceError: there are fewer than ranks on this machine.
    """
    if ranks.world == 1:
        return torch.device("cuda", torch.cuda.current_device())
    count = torch.cuda.device_count()
    if ranks.local_world > count:
        raise DeviceError(
            f"this machine has {count} GPU{'s'[: count != 1]} for {ranks.local_world} processes: "
            f"start {count} (torchrun --nproc-per-node {count}), or train with --device cpu"
        )
    torch.cuda.set_device(ranks.local)
    return torch.device("cuda", ranks.local)


@contextmanager
def enough_memory(what: Callable[[], str]) -> Iterator[None]:
    """Turns a failed allocation into an OutOfMemoryError with the message `what` and the reason."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_allocation(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise OutOfMemoryError(f"{what()} ({reason})" if reason else what()) from error


def is_allocation(error: RuntimeError) -> bool:
    """Returns whether PyTorch's error is that of a failed allocation."""
    signs = ("allocate", "ALLOC_FAILED", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def spare_threads(processes: int = 1) -> int:
    """Returns the threads of each process that leave a core to everything else.

    The threads of a recurrent step wait for each other hundreds of times a chunk, spinning. One
    that has to share its core holds up all others: on two cores, a single other busy program made
    two threads five times slower, and one thread not at all.
    """
    return max(1, min(MOST_THREADS, (available_cores() - 1) // processes))


def computes_bfloat16(device: torch.device) -> bool:
    """Returns whether bfloat16 products are native: GPUs from Ampere on, CPUs with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        version = torch.backends.cudnn.version() or 0  # type: ignore[no-untyped-call]
        return version >= CUDNN and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def emulates_bfloat16() -> bool:
    """Returns whether PyTorch has bfloat16 kernels for this CPU, even slow ones, as it has with AVX-512."""
    lstm = nn.LSTM(1, 1)
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            lstm(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True
