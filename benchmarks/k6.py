"""k6, a load generator that no one here wrote, as a client of the server; `k6.js` is its script.

tools/install-foreign.sh installs it.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOKENS = 300
"""Length of a text."""


@dataclass(frozen=True)
class Outside:
    """What k6 saw."""

    rate: float
    """Tokens a second."""
    first: tuple[float, float]
    """Seconds to the first token: percentiles 50 and 99."""


def program() -> str | None:
    """Where k6 is; None if it is not installed."""
    return shutil.which("k6", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")


def run(address: str, streams: int, seconds: float, prompt: str) -> Outside:
    """Puts a load on a server."""
    settings = {
        "ADDRESS": address,
        "PROTO": str(ROOT / "proto"),
        "PROMPT": prompt,
        "SECONDS": str(max(1.0, seconds)),  # its shortest
        "STREAMS": str(streams),
        "TOKENS": str(TOKENS),
    }
    command = [program() or "k6", "run", "--quiet", "--no-usage-report", str(ROOT / "benchmarks/k6.js")]
    result = subprocess.run(  # noqa: S603
        command, env=os.environ | settings, capture_output=True, text=True, check=True
    )
    summary = json.loads(result.stdout)
    first = summary["first"]
    return Outside(summary["rate"], (first["med"] / 1e3, first["p(99)"] / 1e3))
