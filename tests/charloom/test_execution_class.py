from dataclasses import replace

import pytest

from charloom.execution_class import ExecutionClass

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
