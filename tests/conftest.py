"""What all tests share: a small text, a model trained on it, and its bundle, made once a session."""

import pydoc_data.topics
import subprocess
import sys
from pathlib import Path

import pytest

ALPHABETS = "Съешь же ещё этих мягких французских булок. 色は匂へど散りぬるを。 naïve café 👩‍🚀🎉\n"


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real English, with other alphabets and emoji in it, of 60,000 characters."""
    topics = pydoc_data.topics.topics
    english = "\n".join(topics[name] for name in sorted(topics))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text((ALPHABETS * 20 + english)[:60_000], encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run_dir(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `charloom train`: a small LSTM that has learnt a little."""
    out = tmp_path_factory.mktemp("run") / "run"
    charloom("train", text_file, "--out", out, "--cells", 48, "--embedding", 16, "--epochs", 3,
             "--batch", 16, "--length", 32, "--precision", "float32")  # fmt: skip
    return out


@pytest.fixture(scope="session")
def bundle_dir(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that `charloom export` makes of that run."""
    out = tmp_path_factory.mktemp("bundle") / "small"
    charloom("export", run_dir, "--out", out)
    return out


def charloom(*arguments: object) -> None:
    """Runs the real command and shows what it said if it fails."""
    command = [sys.executable, "-m", "charloom", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stderr}"
