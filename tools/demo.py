"""The whole of Charloom in about two minutes: train, export, serve, stream, shut down.

Runs the commands that a user would type and shows each of them. Without an argument it takes the
text of Python's own language reference, which every Python brings along.
"""

import pydoc_data.topics
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.scrape import scrape, total
from charloom.ready import Ready, ready_in

WORK = Path("build/demo")
# A minute is short: small batches and no dropout learn the most in it.
TRAINING = ("--max-minutes", "1", "--dropout", "0", "--learning-rate", "0.006", "--batch", "16")
COUNTS = {
    "charloom_requests_total": "texts finished",
    "charloom_generated_tokens_total": "characters generated",
    "charloom_active_streams": "streams running now",
}
MEANS = {
    "charloom_time_to_first_token_seconds": "mean time to the first",
    "charloom_time_between_tokens_seconds": "mean time between two",
    "charloom_burst_duration_seconds": "mean duration of a burst",
    "charloom_burst_steps": "mean length of a burst",
}

console = Console(stderr=True, highlight=False, soft_wrap=True)


class StepFailedError(Exception):
    """A command of the demo failed, and has printed why."""


def main() -> int:
    """Runs the demo on the text given as argument, or on the embedded one; gives the exit code."""
    own = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    run, bundle = WORK / "run", WORK / "bundle"
    for old in (run, bundle):
        shutil.rmtree(old, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    text = own or write_reference(WORK / "python-reference.txt")
    try:
        heading("1  Train a model on the text, for a minute")
        charloom("train", text, "--out", run, *TRAINING)
        heading("2  Export the best checkpoint to ONNX, and verify it")
        charloom("export", run, "--out", bundle, "--name", "demo")
        heading("3  Serve it, and stream from it")
        with server(bundle) as ready:
            address = ready.address
            charloom("generate", "--address", address, "--max-tokens", 800, "--temperature", 0.7, "--seed", 1)
            if not sys.stdout.isatty():
                console.print()  # the text ends as it ends
            heading("4  What Prometheus sees")
            show(ready.metrics)
            heading("5  Shut down")
    except StepFailedError:
        return 1
    except KeyboardInterrupt:
        return 130
    farewell(own is None)
    return 0


def write_reference(path: Path) -> Path:
    """Writes the language reference to a file."""
    topics = pydoc_data.topics.topics
    path.write_text("\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
    return path


def charloom(*arguments: object) -> None:
    """Prints a command and runs it."""
    words = list(map(str, arguments))
    show_command(words)
    if subprocess.run([sys.executable, "-m", "charloom", *words], check=False).returncode:
        raise StepFailedError


@contextmanager
def server(bundle: Path) -> Iterator[Ready]:
    """Runs a server on free ports of loopback, and gives its addresses."""
    words = ["serve", str(bundle), "--port", "0", "--metrics-port", "0"]
    show_command(words, background=True)
    command = [sys.executable, "-m", "charloom", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield wait_until_ready(process)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None, "it was asked for"
        for line in process.stderr:
            console.print(line.rstrip(), style="dim", markup=False)
        if process.wait():
            raise StepFailedError


def wait_until_ready(process: "subprocess.Popen[str]") -> Ready:
    """Reads the server's log until it is ready."""
    assert process.stderr is not None, "it was asked for"
    for line in process.stderr:
        console.print(line.rstrip(), style="dim", markup=False)
        if ready := ready_in(line):
            return ready
    raise StepFailedError


def show(url: str) -> None:
    """Fetches the metrics and prints a few of them."""
    samples = scrape(url)
    table = Table(box=None, show_header=False)
    for name, label in COUNTS.items():
        table.add_row(label, f"{total(samples, name):,.0f}", f"[dim]{name}")
    for name, label in MEANS.items():
        mean = total(samples, f"{name}_sum") / max(1.0, total(samples, f"{name}_count"))
        value = f"{mean * 1000:.2f} ms" if name.endswith("_seconds") else f"{mean:.1f}"
        table.add_row(label, value, f"[dim]{name}")
    console.print(table)


def farewell(embedded: bool) -> None:
    """Prints the commands to try next."""
    heading("Done. For a text of your own")
    if embedded:
        console.print("  make demo TEXT=path/to/your.txt", markup=False)
        console.print("or, step by step and with more time to train:")
    for words in (
        ["train", "your.txt", "--out", "runs/mine"],
        ["export", "runs/mine", "--out", "bundles/mine"],
        ["generate", "--bundle", "bundles/mine", "--prompt", "Once "],
        ["serve", "bundles/mine"],
    ):
        console.print(f"  .venv/bin/charloom {shlex.join(words)}", markup=False)


def heading(title: str) -> None:
    """Prints a heading."""
    console.print()
    console.rule(f"[bold]{title}", align="left")


def show_command(words: list[str], *, background: bool = False) -> None:
    """Prints a command as one would type it."""
    console.print(f"$ charloom {shlex.join(words)}{' &' if background else ''}", style="cyan", markup=False)


if __name__ == "__main__":
    sys.exit(main())
