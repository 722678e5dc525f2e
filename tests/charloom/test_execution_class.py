from dataclasses import replace

import pytest

from charloom import execution_class
from charloom.execution_class import ExecutionClass, instruction_set, processor_flags

CLASS = ExecutionClass("float32", "cpu", "onnxruntime-1.32.0", "x86_64+avx2", 4)


def test_its_string_names_everything_the_bits_depend_on():
    assert str(CLASS) == "float32/cpu/onnxruntime-1.32.0/x86_64+avx2/pad4"


@pytest.mark.parametrize(
    "change",
    [{"precision": "int8"}, {"provider": "cuda"}, {"runtime": "x"}, {"instruction_set": "x"}, {"padding": 1}],
)
def test_every_part_makes_another_class(change):
    other = replace(CLASS, **change)
    assert other != CLASS
    assert str(other) != str(CLASS)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"fma", "avx", "avx2", "sse2", "amx_int8"}, "x86_64+avx+avx2+fma+amx_int8"),
        ("AMD64", {"avx"}, "x86_64+avx"),
        ("arm64", {"asimd", "sve", "fp"}, "aarch64+asimd+sve"),
        ("riscv64", {"anything"}, "riscv64"),
    ],
)
def test_the_instruction_set_lists_relevant_flags_in_one_order(monkeypatch, machine, flags, expected):
    monkeypatch.setattr(execution_class.platform, "machine", lambda: machine)
    monkeypatch.setattr(execution_class, "processor_flags", lambda: flags)
    assert instruction_set() == expected


def test_without_flags_the_name_of_the_processor_stands_for_them(monkeypatch):
    monkeypatch.setattr(execution_class, "processor_flags", set)
    monkeypatch.setattr(execution_class.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(execution_class.platform, "processor", lambda: "Some CPU/2")
    assert instruction_set() == "aarch64+Some_CPU_2"  # no slash: the class is split at slashes


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 fma\nflags\t\t: other\n", {"fpu", "avx2", "fma"}),
        ("processor\t: 0\nFeatures\t: fp asimd\n", {"fp", "asimd"}),
        ("processor\t: 0\nmodel name: flags\n", set()),
        (None, set()),
    ],
)
def test_flags_are_those_of_the_first_processor(monkeypatch, tmp_path, cpuinfo, expected):
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(execution_class, "Path", lambda name: path if name == "/proc/cpuinfo" else None)
    assert processor_flags() == expected
