"""The processor of this machine: its cores, its instruction set, and which arithmetic is exact on it."""

import os
import platform
from pathlib import Path

RELEVANT = {
    "x86_64": [
        "avx",
        "avx2",
        "fma",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "avx512_bf16",
        "amx_int8",
        "amx_bf16",
    ],
    "aarch64": ["asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"],
}
"""The flags by which matrix kernels are chosen, per architecture."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def instruction_set() -> str:
    """Architecture and the relevant processor flags, such as `x86_64+avx+avx2+fma`.

    Where the system does not list its flags (it does on Linux), the architecture and the
    processor's name stand for them.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    present = processor_flags()
    if not present:
        return f"{machine}+{platform.processor() or 'unknown'}".replace(" ", "_").replace("/", "_")
    return "+".join((machine, *(flag for flag in RELEVANT.get(machine, ()) if flag in present)))


def multiplies_bytes() -> bool:
    """Whether this processor multiplies unsigned by signed bytes exactly, and fast.

    On x86 that takes VNNI. Without it the products of two neighbours are added in 16 bits, which
    hold no more than 32,767 of up to 64,770: sums would be wrong, and no faster than in float32.
    """
    if not instruction_set().startswith("x86_64"):
        return True
    return not processor_flags().isdisjoint(("avx512_vnni", "avx_vnni"))


def processor_flags() -> set[str]:
    """The flags that Linux reports for the first processor; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()
