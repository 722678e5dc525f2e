import os

import pytest
import torch

from charloom.errors import ConfigError
from training.hardware import (
    DeviceError,
    Hardware,
    HardwareConfig,
    computes_bfloat16,
    emulates_bfloat16,
    resolve,
    spare_threads,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "expected"),
    [({}, False), ({"avx512_f": True}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)],
)
def test_bfloat16_follows_from_what_the_cpu_can_do(able, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert computes_bfloat16(CPU) is expected
    assert resolve(HardwareConfig(device="cpu")).precision == ("bfloat16" if expected else "float32")


def test_an_explicit_precision_is_taken():
    assert resolve(HardwareConfig(device="cpu", precision="float32")).precision == "float32"


@pytest.mark.parametrize("emulated", [False, True])
def test_bfloat16_is_taken_if_it_runs_at_all_and_asked_for(emulated, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr("training.hardware.emulates_bfloat16", lambda: emulated)
    asked = HardwareConfig(device="cpu", precision="bfloat16")
    if emulated:
        assert resolve(asked).bfloat16
        return
    with pytest.raises(DeviceError, match="this CPU does not compute in it; try --precision float32"):
        resolve(asked)


def test_where_pytorch_has_kernels_in_bfloat16_it_says_so():
    """By what its own recurrent layer does."""
    lstm = torch.nn.LSTM(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        if emulates_bfloat16():
            assert lstm(torch.randn(3, 2, 8))[0].isfinite().all()
        else:
            with pytest.raises(RuntimeError):
                lstm(torch.randn(3, 2, 8))


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        assert resolve(HardwareConfig(device="cpu", threads=1)).threads == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 3), (64, 8)])
def test_a_core_is_left_to_others(cores, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert spare_threads() == threads


def test_there_are_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    resolve(HardwareConfig(device="cpu", threads=4))
    with pytest.raises(ConfigError, match="threads must be at most 4, the cores"):
        resolve(HardwareConfig(device="cpu", threads=100_000))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_gpu_is_an_error_and_auto_does_without():
    with pytest.raises(DeviceError, match="--device cpu"):
        resolve(HardwareConfig(device="cuda"))
    assert resolve(HardwareConfig()).device == CPU


def test_what_is_on_a_gpu_already_is_not_sent_there():
    gpu = Hardware(torch.device("cuda", 0), bfloat16=True, threads=1)
    numbers = torch.empty(3, device="meta")  # stands for any device but the CPU
    assert gpu.taken(numbers) is numbers


@pytest.mark.parametrize("values", [{"device": "tpu"}, {"precision": "int8"}, {"threads": -1}])
def test_bad_values_are_refused(values):
    with pytest.raises(ConfigError):
        HardwareConfig(**values)
