import pytest

from charloom import processor
from charloom.processor import instruction_set, processor_flags


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
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    monkeypatch.setattr(processor, "processor_flags", lambda: flags)
    assert instruction_set() == expected


def test_without_flags_the_name_of_the_processor_stands_for_them(monkeypatch):
    monkeypatch.setattr(processor, "processor_flags", set)
    monkeypatch.setattr(processor.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(processor.platform, "processor", lambda: "Some CPU/2")
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
    monkeypatch.setattr(processor, "Path", lambda name: path if name == "/proc/cpuinfo" else None)
    assert processor_flags() == expected
