"""A run is killed at any moment, and goes on as if it had not been."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

KILLED_AT = """
import json, os, signal, sys
from pathlib import Path
import serving.offline.run
from tests.serving.offline.conftest import WordSource, content, make_run

serving.offline.run.COMMIT_SECONDS, serving.offline.run.BLOCK = 0.0, 16
try:
    import pyarrow.parquet
    serving.offline.parts.ROWS = 16
except ImportError:
    pass
TOUCHES = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree", "os.truncate"}


def run(folder, last):
    "Runs in a process of its own, which is killed before it touches the folder for the last time."
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    touches = 0

    def hook(event, arguments):
        nonlocal touches
        if event in TOUCHES and str(folder) in str(arguments[0]):
            touches += 1
            if touches == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.stderr = open(os.devnull, "w")
    sys.addaudithook(hook)
    folder.mkdir(exist_ok=True)
    make_run(WordSource(), folder / name, count=30, unique=True, overwrite=True).run()
    os._exit(0)


base, name = Path(sys.argv[1]), sys.argv[2]
assert run(base / "whole", 0) == 0
whole, kills = content(base / "whole" / name), 0
while True:
    folder = base / str(kills)
    if run(folder, kills + 1) == 0:
        break
    kills += 1
    assert run(folder, 0) == 0, kills
    assert content(folder / name) == whole, kills
    assert [path.name for path in folder.iterdir()] == [name], kills
print(kills)
"""


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_kill_between_any_two_changes_of_the_folder_changes_nothing(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pip install '.[parquet]'")
    result = subprocess.run(
        [sys.executable, "-c", KILLED_AT, tmp_path, name],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20


@pytest.mark.slow
def test_three_kills_at_random_moments_change_nothing(record_bundle_dir: Path, tmp_path: Path) -> None:
    """The real command, with a model."""
    command = [sys.executable, "-c", COMMAND, "generate", "--bundle", str(record_bundle_dir)]
    options = ("--label", "p", "--seed", 5, "--count", 40_000, "--max-batch", 64, "--device", "cpu")

    def start(name: str) -> "subprocess.Popen[bytes]":
        words = [*command, *map(str, options), "--output", str(tmp_path / name)]
        return subprocess.Popen(words, stderr=subprocess.PIPE, cwd=ROOT)

    whole = start("whole.jsonl")
    said = whole.communicate()[1].decode()
    assert whole.returncode == 0, said
    moments, kills, records = random.Random(2), 0, 0
    while True:
        process = start("out.jsonl")
        progress = tmp_path / ".partial-out.jsonl" / "progress.json"
        while process.poll() is None and kills < 3:
            if (now := records_of(progress)) > records:
                records = now
                time.sleep(moments.uniform(0, 0.3))
                process.kill()
                break
            time.sleep(0.005)
        said = process.communicate()[1].decode()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
        kills += 1
    assert kills == 3
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "whole.jsonl"]


COMMAND = """
import serving.offline.run
serving.offline.run.COMMIT_SECONDS = 0.05
from charloom.cli import main
main()
"""


def records_of(progress: Path) -> int:
    """The records that count."""
    try:
        return int(json.loads(progress.read_bytes())["records"])
    except FileNotFoundError:
        return 0
