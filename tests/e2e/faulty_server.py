"""`charloom serve` whose onnxruntime can be made to fail or to hang from outside, while it runs.

    python tests/e2e/faulty_server.py FAULT serve BUNDLE ...

FAULT is a file. While it says `fail`, every burst raises an error; while it says `hang`, none ends.
"""

import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime

from charloom.cli import main

FAIL, HANG = "fail", "hang"


def faulty(fault: Path) -> type[onnxruntime.InferenceSession]:
    """A session that does as the file says."""

    class FaultySession(onnxruntime.InferenceSession):  # type: ignore[misc]
        def run(self, *arguments: Any) -> Any:
            while said(fault) == HANG:
                time.sleep(0.05)
            if said(fault) == FAIL:
                raise RuntimeError("injected")
            return super().run(*arguments)

    return FaultySession


def said(file: Path) -> str:
    return file.read_text() if file.exists() else ""


if __name__ == "__main__":
    onnxruntime.InferenceSession = faulty(Path(sys.argv.pop(1)))
    main()
