"""Generates the gRPC stubs in charloom/v1 from proto/; with a folder as argument, there instead."""

import os
import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ("--python_out", "--mypy_out", "--grpc_python_out", "--mypy_grpc_out")


def generate(out: Path) -> None:
    """Writes the stubs below `out`."""
    # protoc looks for its plugins there, whether this environment is activated or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    flags = [f"{flag}={'quiet:' if 'mypy' in flag else ''}{out}" for flag in FLAGS]
    sources = sorted(str(path) for path in (ROOT / "proto").rglob("*.proto"))
    # grpc_tools brings the .proto files of google.protobuf along.
    folders = [ROOT / "proto", Path(grpc_tools.__file__).parent / "_proto"]
    code = protoc.main(["protoc", *(f"-I{folder}" for folder in folders), *flags, *sources])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
