"""What each package may import, and the generated code beside its source."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "charloom" / "v1"


def test_imports_keep_to_the_contracts(python):
    command = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    result = python("-c", command, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("modules", "kept_out"),
    [
        (["charloom.bundle"], {"torch", "grpc", "onnx", "onnxruntime", "training", "serving", "export"}),
        (
            ["charloom.client"],
            {"torch", "onnx", "onnxruntime", "textual", "training", "serving", "export"},
        ),
        (["charloom.evaluate"], {"torch", "grpc", "onnx", "onnxruntime", "training", "serving", "export"}),
        (["writing.controller"], {"torch", "grpc", "google", "textual", "training", "serving", "export"}),
        (
            ["writing.main"],
            {"torch", "grpc", "textual", "onnx", "onnxruntime", "training", "serving", "export"},
        ),
        (["writing.app"], {"torch", "onnx", "onnxruntime", "training", "serving", "export"}),
        (["training.main"], {"torch", "grpc", "onnx", "onnxruntime", "serving", "export"}),
        (["export.main"], {"torch", "onnx", "onnx_ir", "onnxruntime", "grpc", "serving"}),
        (["serving.main"], {"torch", "grpc", "google", "onnxruntime", "onnx_ir", "training", "export"}),
        (["serving.commands.score"], {"torch", "grpc", "onnx", "onnxruntime", "training", "export"}),
        (["serving.engine.engine"], {"torch", "grpc", "google", "onnxruntime", "training", "export"}),
        (["serving.commands.remote"], {"torch", "onnx", "onnxruntime", "training", "export"}),
        (
            ["serving.commands.generate", "serving.local", "serving.commands.evaluate"],
            {"torch", "grpc", "textual", "training", "export"},
        ),
        (["serving.server"], {"torch", "training", "export"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_module_leaves_the_rest_alone(python, modules, kept_out):
    code = f"import sys, {', '.join(modules)}; print(*sorted({kept_out!r} & set(sys.modules)))"
    result = python("-c", code, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_what_needs_torch_leaves_the_rest_alone(python):
    """In one process, since torch takes long to import: training first, then what stands on it."""
    code = """
import sys, training.run, training.evaluate
print(*{"grpc", "onnx", "onnxruntime", "serving", "export"} & set(sys.modules))
import export.exporter
print(*{"grpc", "serving"} & set(sys.modules))
"""
    result = python("-c", code, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_the_committed_stubs_are_those_of_the_contract(python, tmp_path):
    bin_folder = str(Path(sys.executable).parent)  # protoc finds its plugins on the path
    result = python(
        ROOT / "tools" / "proto.py", tmp_path, PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    )
    assert result.returncode == 0, result.stderr
    fresh = {path.name: path.read_text() for path in (tmp_path / "charloom" / "v1").iterdir()}
    committed = {path.name: path.read_text() for path in STUBS.glob("charloom_pb2*")}
    assert fresh.keys() == committed.keys()
    for name, text in fresh.items():
        assert text == committed[name], f"{name}: run make proto"
