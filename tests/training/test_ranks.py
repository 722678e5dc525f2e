"""One training in several processes, started by a real torchrun."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charloom.errors import ConfigError
from tests.training.conftest import VERSE
from training.checkpoint import CheckpointError, load_checkpoint, load_training_state
from training.ranks import Ranks

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
STANDALONE = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0")
EXACT = {"dropout": 0, "threads": 1, "patience": 0}
SAVING = EXACT | {"save-minutes": 1e-5, "keep": 0}


@pytest.fixture
def text(text):
    """Twice as much of it, so that a run is not over too soon."""
    text.write_text("".join(f"{i}. {VERSE}" for i in range(60)))
    return text


def torchrun(*arguments, before=()):
    return subprocess.Popen(
        [*TORCHRUN, *STANDALONE, *before, "-m", "training", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        # Without it, the store that the ranks meet in is at times gone when they are started again.
        env=os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"},
    )


def evaluations(run):
    """What a run measured, without what depends on the clock."""
    progress = load_training_state(run / "last").progress
    return [evaluation | {"seconds": 0} for evaluation in progress["evaluations"]]


def wait_for_step(run, step, process):
    """Waits until a checkpoint is of that step or a later one."""
    while process.poll() is None:
        try:
            if load_checkpoint(run / "last").summary["steps"] >= step:
                return
        except CheckpointError:
            pass  # there is none yet, or it has just been dropped
        time.sleep(0.01)
    raise AssertionError(process.stderr.read())


def ranks_of(process):
    """The process ids of a torchrun's ranks, by rank."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(word[5:]): int(child) for word in environment if word.startswith(b"RANK=")}
    return found


def test_without_torchrun_a_training_is_alone():
    assert Ranks.of({"RANK": "1", "WORLD_SIZE": "2"}) == Ranks()
    ranks = Ranks.of(
        {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
        | {"MASTER_ADDR": "a", "MASTER_PORT": "1", "TORCHELASTIC_RESTART_COUNT": "5"}
    )
    assert (ranks.rank, ranks.world, ranks.local, ranks.local_world, ranks.restarts) == (3, 4, 1, 2, 5)


def test_lanes_are_divided_evenly_or_not_at_all():
    shares = [Ranks(rank, 3).lanes(12) for rank in range(3)]
    assert [list(share) for share in shares] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    with pytest.raises(ConfigError, match="batch is 10, and has to be a multiple of 3"):
        Ranks(0, 3).lanes(10)
    assert [list(Ranks(rank, 3).rows(2)) for rank in range(3)] == [[0], [1], []]


@pytest.mark.slow
def test_two_ranks_have_the_losses_of_one(text, small, tmp_path, run_cli):
    # What is dropped of the weights is the same on all ranks.
    options = small(evaluate_every=1, keep=0, epochs=1, **EXACT | {"weight-dropout": 0.5})
    assert run_cli("train", text, "--out", tmp_path / "one", *options)[0] == 0
    process = torchrun(text, "--out", tmp_path / "two", *options)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert said.count("2 processes") == 1
    one, two = (evaluations(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) > 50
    for a, b in zip(one[1:], two[1:], strict=True):
        assert a["training_loss"] == pytest.approx(b["training_loss"], abs=1e-5)
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], abs=1e-5)


@pytest.mark.slow
def test_two_ranks_train_on_records_as_one_does_and_go_on_from_it(text, small, tmp_path, run_cli):
    """Of steps whose rows are odd in number, one rank has a row that fills up."""
    lines = ("--records", "lines")
    options = small(evaluate_every=3, keep=99, epochs=1, length=12, **EXACT)
    assert run_cli("train", text, "--out", tmp_path / "one", *lines, *options)[0] == 0
    run = shutil.copytree(tmp_path / "one", tmp_path / "run")
    [middle] = [path for path in run.glob("epoch*") if load_checkpoint(path).summary["steps"] == 21]
    (run / "last").write_text(middle.name)
    for name, words in (("two", (*lines, *options)), ("run", ("--resume",))):
        process = torchrun(text, "--out", tmp_path / name, *words)
        said = process.communicate()[1]
        assert process.returncode == 0, said
    assert "processes 1 -> 2" in said
    one, two, resumed = (evaluations(tmp_path / name) for name in ("one", "two", "run"))
    assert len(one) == len(two) == len(resumed) > 10
    for a, *others in zip(one[1:], two[1:], resumed[1:], strict=True):
        for b in others:
            assert a["validation_loss"] == pytest.approx(b["validation_loss"], abs=1e-4)
    for a, b in zip(one[1:], two[1:], strict=True):
        assert a["training_loss"] == pytest.approx(b["training_loss"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_saves_and_one_process_goes_on(number, text, small, tmp_path, run_cli):
    options = small(epochs=3, **SAVING)
    process = torchrun(text, "--out", tmp_path / "run", *options)
    wait_for_step(tmp_path / "run", 10, process)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode != 0, said
    assert said.count("--resume") == 1
    stopped = load_training_state(tmp_path / "run" / "last").progress["step"]
    code, said = run_cli("train", text, "--out", tmp_path / "run", "--resume")
    assert code == 0, said
    assert "processes 2 -> 1" in said
    assert run_cli("train", text, "--out", tmp_path / "whole", *options)[0] == 0
    resumed, whole = (evaluations(tmp_path / name) for name in ("run", "whole"))
    assert 10 <= stopped < whole[-1]["step"] == resumed[-1]["step"]
    assert resumed[-1]["validation_loss"] == pytest.approx(whole[-1]["validation_loss"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_started_again_and_nothing_is_lost(rank, text, small, tmp_path):
    options = small(epochs=3, **SAVING | {"dropout": 0.2})
    whole = torchrun(text, "--out", tmp_path / "whole", *options)
    said = whole.communicate()[1]
    assert whole.returncode == 0, said
    assert "2 processes" in said
    again = ("--max-restarts", "2")
    process = torchrun(text, "--out", tmp_path / "run", *options, "--overwrite", before=again)
    wait_for_step(tmp_path / "run", 40, process)
    os.kill(ranks_of(process)[rank], signal.SIGKILL)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    step = int(re.search(r"resuming at epoch .* step (\d+)", said)[1])
    assert 40 <= step < evaluations(tmp_path / "whole")[-1]["step"]
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole")


@pytest.mark.slow
def test_errors_end_all_ranks_with_one_message(text, small, tmp_path):
    for arguments, code, message in (
        ((text, "--out", tmp_path / "run", *small(batch=5)), 2, "has to be a multiple of 2"),
        ((tmp_path / "none.txt", "--out", tmp_path / "run", *small()), 3, "cannot read the text"),
        ((text, "--out", text / "run", *small()), 11, "cannot write to"),
        ((text, "--out", tmp_path / "run", *small(length=5000)), 7, "use a longer text"),
    ):
        process = torchrun(*arguments)
        said = process.communicate()[1]
        assert process.returncode == 1
        assert said.count(message) == 1, said
        assert re.search(rf"exitcode +: {code} ", said), said
        assert said.count("Traceback") == said.count("Traceback (most recent call last)") <= 1, said


@pytest.mark.slow
def test_a_run_that_another_training_left_is_not_taken_up(text, small, tmp_path, run_cli):
    run = tmp_path / "run"
    assert run_cli("train", text, "--out", run, *small(**EXACT))[0] == 0
    before = (run / "last").read_text()
    process = torchrun(text, "--out", run, *small(**EXACT), before=("--max-restarts", "1"))
    said = process.communicate()[1]
    assert process.returncode != 0
    assert "holds a run already" in said
    assert (run / "last").read_text() == before
