import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import main
from training.checkpoint import load_checkpoint, load_training_state
from training.data import read_corpus
from training.options import Options
from training.presets import PRESETS
from training.run import stored_options
from training.trainer import Trainer


def stored(path):
    return stored_options(load_checkpoint(path / "last")).flat()


def test_a_run_from_beginning_to_end(run_cli, text, small, tmp_path):
    code, said = run_cli("train", text, "--out", "run", *small())
    assert code == 0
    for fact in ("text: ", "model: LSTM", "parameters", "hardware: cpu", "float32", "1 thread", "test loss"):
        assert fact in said
    assert "\x1b" not in said
    assert load_checkpoint(tmp_path / "run").summary["epoch"] == 1


BAD_TEXTS = {
    "empty": (b"", 4, "is empty"),
    "mark": ("\ufeff".encode(), 4, "is empty"),
    "short": (b"too short\n", 7, "--batch"),
    "binary": (b"abc\0def" * 100, 5, "NUL byte at byte 3"),
    "utf-16": ("first\n你好\n".encode("utf-16") * 50, 6, "iconv -f utf-16 -t utf-8"),
    "utf-16, no NUL": ("你好".encode("utf-16") * 50, 6, "iconv -f utf-16 -t utf-8"),
    "utf-16le": ("first\nsecond\n".encode("utf-16le") * 50, 6, "iconv -f utf-16le -t utf-8"),
    "utf-16be": ("first\nsecond\n".encode("utf-16be") * 50, 6, "iconv -f utf-16be -t utf-8"),
    "utf-32": ("first\n".encode("utf-32") * 50, 6, "iconv -f utf-32 -t utf-8"),
    "NULs": (bytes(1000), 5, "NUL byte at byte 0"),
    "latin": ("first\nsecond caf\u00e9\n".encode("latin-1") * 50, 6, "0xe9 at byte 16, line 2"),
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_bad_texts(kind, run_cli, small, tmp_path):
    data, expected, message = BAD_TEXTS[kind]
    (tmp_path / "bad.txt").write_bytes(data)
    code, said = run_cli("train", "bad.txt", "--out", "run", *small())
    assert code == expected
    assert message in said
    assert said.startswith("charloom: error: ")
    assert not (tmp_path / "run").exists()


def test_missing_texts_and_folders_that_cannot_be(run_cli, text, small, tmp_path):
    code, said = run_cli("train", "none.txt", "--out", "run", *small())
    assert (code, "none.txt" in said) == (3, True)
    (tmp_path / "empty").mkdir()
    code, said = run_cli("train", "empty", "--out", "run", *small())
    assert (code, "no text in the folder empty" in said) == (3, True)
    code, said = run_cli("train", text, "--out", text / "run", *small())
    assert (code, "cannot write to" in said) == (11, True)
    code, said = run_cli("train", text, "--out", "run", *small(cells=-1))
    assert (code, "--cells must be 0 to 65536" in said) == (2, True)
    assert not (tmp_path / "run").exists()


def test_a_run_is_neither_overwritten_nor_resumed_unasked(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "run", "--resume")[0] == 11
    assert run_cli("train", text, "--out", "run", *small())[0] == 0
    code, said = run_cli("train", text, "--out", "run", *small())
    assert code == 11
    assert "--resume" in said
    assert "--overwrite" in said
    assert run_cli("train", text, "--out", "run", "--resume", "--overwrite")[0] == 11
    assert run_cli("train", text, "--out", "run", *small(), "--overwrite", "--seed", "5")[0] == 0
    assert stored(tmp_path / "run")["seed"] == 5


def test_a_resumed_run_keeps_its_text_and_options_but_may_go_on_longer(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "run", *small())[0] == 0
    code, said = run_cli("train", text, "--out", "run", "--resume", "--cells", "17")
    assert (code, "cells 16, not 17" in said) == (14, True)
    assert run_cli("train", text, "--out", "run", "--resume", "--preset", "char-rnn")[0] == 14
    code, said = run_cli("train", text, "--out", "run", "--resume", "--epochs", "2")
    assert (code, "resuming at epoch 1.00" in said) == (0, True)
    assert load_checkpoint(tmp_path / "run" / "last").summary["epoch"] == 2
    text.write_text(text.read_text() + "more\n")
    code, said = run_cli("train", text, "--out", "run", "--resume")
    assert (code, "not the text" in said) == (14, True)


def test_a_run_of_a_preset_from_a_file_or_the_environment_goes_on(
    run_cli, text, small, tmp_path, monkeypatch
):
    """With the very command that it says as it is stopped."""
    monkeypatch.setenv("CHARLOOM_TRAIN_PRESET", "char-rnn")
    assert run_cli("train", text, "--out", "run", *small())[0] == 0
    (tmp_path / "charloom.toml").write_text('[train]\npreset = "thorough"\ninit-from = "none"\n')
    code, said = run_cli("train", text, "--out", "run", "--resume", "--epochs", "2")
    assert (code, "resuming at epoch 1.00" in said) == (0, True)
    assert stored(tmp_path / "run")["optimizer"] == "rmsprop"


def test_names_may_be_any_bytes(run_cli, text, small, tmp_path):
    out = tmp_path / os.fsdecode(b"r\xe4")
    odd = text.rename(tmp_path / os.fsdecode(b"t\xe4.txt"))
    sys.stderr.reconfigure(errors="backslashreplace")  # as it is where nothing captures it
    assert run_cli("train", odd, "--out", out, *small())[0] == 0
    assert (out / "report.html").is_file()
    assert load_checkpoint(out / "last").summary["text"]["name"] == r"t\udce4.txt"
    odd.rename(tmp_path / "ümlaut.txt")
    assert run_cli("train", "ümlaut.txt", "--out", "läufe", *small())[0] == 0
    assert (tmp_path / "läufe" / "report.html").is_file()
    assert load_checkpoint(tmp_path / "läufe").summary["text"]["name"] == "ümlaut.txt"


def test_a_text_that_is_a_link_to_itself(run_cli, small, tmp_path):
    (tmp_path / "a").symlink_to("a")
    code, said = run_cli("train", "a", "--out", "run", *small())
    assert (code, "a" in said) == (3, True)


def test_a_preset_wins_over_defaults_and_yields_to_all_else(run_cli, text, small, tmp_path, monkeypatch):
    (tmp_path / "charloom.toml").write_text("[train]\nlength = 12\ncells = 11\nepochs = 9\n")
    monkeypatch.setenv("CHARLOOM_TRAIN_CELLS", "13")
    code, _ = run_cli(
        "train",
        text,
        "--out",
        "run",
        "--preset",
        "char-rnn",
        "--batch",
        "4",
        "--epochs",
        "1",
        "--alpha",
        "0.9",
    )
    assert code == 0
    expected = PRESETS["char-rnn"] | {"length": 12, "cells": 13, "batch": 4, "epochs": 1, "alpha": 0.9}
    assert {k: v for k, v in stored(tmp_path / "run").items() if k in expected} == expected


def test_the_thorough_preset_leaves_to_the_text_what_to_drop(run_cli, text, small, tmp_path):
    code, said = run_cli("train", text, "--out", "run", *small(cells=64), "--preset", "thorough")
    assert code == 0
    options = stored(tmp_path / "run")
    assert (options["cells"], options["weight_decay"], options["max_minutes"]) == (64, 0.03, 55)
    assert 0 < options["weight_dropout"] < 0.5
    assert f"weight dropout {options['weight_dropout']:g}" in said


def test_what_is_left_open_is_chosen_said_and_kept(run_cli, text, tmp_path):
    brief = ("--batch", 4, "--length", 16, "--epochs", 0.05, "--preview-length", 0)
    code, said = run_cli("train", text, "--out", "run", *brief)
    assert code == 0
    options = stored(tmp_path / "run")
    assert "chosen for " in said
    assert f"{options['cells']} cells, dropout {options['dropout']:g}, " in said
    assert load_checkpoint(tmp_path / "run").config.cells == options["cells"] > 0
    code, said = run_cli("train", text, "--out", "run", "--resume", "--epochs", "0.1")
    assert (code, "chosen for" in said) == (0, False)
    assert {**stored(tmp_path / "run"), "epochs": 0.05} == options
    code, said = run_cli("train", text, "--out", "two", "--init-from", "run", *brief, "--dropout", "0")
    assert (code, "chosen for" in said, "input dropout 0, " in said) == (0, True, True)
    assert stored(tmp_path / "two")["cells"] == options["cells"]


def test_a_settings_file_can_name_the_preset(run_cli, text, tmp_path):
    (tmp_path / "mine.toml").write_text('[train]\npreset = "char-rnn"\nepochs = 1\nbatch = 2\ncells = 8\n')
    assert run_cli("--config", "mine.toml", "train", text, "--out", "run")[0] == 0
    options = stored(tmp_path / "run")
    assert (options["optimizer"], options["embedding"], options["cells"]) == ("rmsprop", 0, 8)


def test_starting_from_another_checkpoint(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "one", *small(epochs=2))[0] == 0
    other = tmp_path / "other.txt"
    other.write_text(text.read_text().replace("loom", "zoom 🧵"))
    code, said = run_cli(
        "train",
        other,
        "--out",
        "two",
        "--init-from",
        "one",
        "--length",
        "16",
        "--batch",
        "4",
        "--epochs",
        "1",
    )
    assert code == 0
    assert "tokens kept, 2 added, 0 dropped" in said
    two = load_checkpoint(tmp_path / "two" / "last")
    assert two.config.cells == 16
    first = two.options and load_training_state(tmp_path / "two" / "last").progress["evaluations"][0]
    assert (
        first["validation_loss"]
        < load_training_state(tmp_path / "one" / "last").progress["evaluations"][0]["validation_loss"]
    )
    code, said = run_cli("train", text, "--out", "three", *small(cells=32), "--init-from", "one")
    assert (code, "cells 16" in said) == (12, True)
    assert run_cli("train", text, "--out", "three", *small(), "--init-from", "nowhere")[0] == 9


def test_several_alphabets_are_learned_and_previewed(run_cli, small, tmp_path):
    path = tmp_path / "all.txt"
    path.write_text("Привет, мир! 你好世界 🧵🪡 שלום\n" * 60)
    code, said = run_cli("train", path, "--out", "run", *small(preview_length=30))
    assert code == 0
    assert "at 0.5" in said


SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def evaluations(run):
    """What a run measured, without what depends on the clock."""
    progress = load_training_state(run / "last").progress
    return [evaluation | {"seconds": 0} for evaluation in progress["evaluations"]]


@SIGNALS
def test_a_signal_leaves_a_run_that_goes_on_as_if_undisturbed(
    number, code, run_cli, after_steps, text, small, tmp_path
):
    options = small(epochs=2, evaluate_every=20)
    assert run_cli("train", text, "--out", "whole", *options)[0] == 0
    after_steps(lambda step: step == 33 and signal.raise_signal(number))
    stopped, said = run_cli("train", text, "--out", "run", *options)
    assert (stopped, "--resume" in said) == (code, True)
    assert load_training_state(tmp_path / "run" / "last").progress["step"] == 33
    assert run_cli("train", text, "--out", "run", "--resume")[0] == 0
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole")


def start_process(text, out, *options, begun=r"epoch 0\.00"):
    """Starts a training in a process of its own, and waits for a line that begins so."""
    command = [sys.executable, "-m", "training", text, "--out", out, *options]
    process = subprocess.Popen(
        [str(c) for c in command],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    for line in process.stderr:
        if re.match(begun, line):
            return process
    raise AssertionError(f"ended with {process.wait()} before it began")


@pytest.mark.slow
@SIGNALS
def test_a_signal_leaves_a_run_of_another_process_too(number, code, run_cli, text, small, tmp_path):
    # It says more than a pipe holds, so it is not over before the signal comes, however long that takes.
    options = small(epochs=60, evaluate_every=300, print_every=1, threads=1, patience=0)
    assert run_cli("train", text, "--out", "whole", *options)[0] == 0
    process = start_process(text, "run", *options, begun="step 10 ")
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait() == code
    assert "--resume" in said
    assert "Traceback" not in said
    stopped = load_training_state(tmp_path / "run" / "last").progress["step"]
    assert run_cli("train", text, "--out", "run", "--resume")[0] == 0
    assert 10 <= stopped < load_training_state(tmp_path / "run" / "last").progress["step"]
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole")


@pytest.mark.parametrize(
    ("option", "value", "bounds"),
    [("layers", 65, "1 to 64"), ("cells", 10_000_000, "0 to 65536"), ("embedding", 65_537, "0 to 65536")],
)
def test_sizes_have_bounds(option, value, bounds, run_cli, text, small):
    code, said = run_cli("train", text, "--out", "run", *small(**{option: value}))
    assert (code, f"--{option} must be {bounds}" in said) == (2, True)


def test_a_run_goes_on_with_fewer_threads_on_a_smaller_machine(run_cli, text, small, monkeypatch):
    assert run_cli("train", text, "--out", "run", *small(threads=1))[0] == 0
    checkpoint = text.parent / "run" / (text.parent / "run" / "last").read_text().strip() / "checkpoint.json"
    manifest = json.loads(checkpoint.read_text())
    manifest["options"]["hardware"]["threads"] = 100_000
    checkpoint.write_text(json.dumps(manifest))
    code, said = run_cli("train", text, "--out", "run", "--resume")
    assert (code, "the cores of this machine" in said) == (2, True)
    assert run_cli("train", text, "--out", "run", "--resume", "--threads", "1")[0] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA reserves more addresses than the limit")
def test_a_model_too_large_for_memory_is_named(run_cli, text, small, tmp_path):
    # One weight of 65,536 x 4 x 65,536 float32 takes 64 GiB, which the limit rules out on any machine.
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (32 << 30, limits[1]))
    try:
        code, said = run_cli("train", text, "--out", "run", *small(cells=65_536))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert code == 15
    assert "parameters" in said
    assert "--cells" in said
    assert not (tmp_path / "run").exists()


def test_a_step_too_large_for_memory_is_named(run_cli, text, small, monkeypatch):
    def step(trainer):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    monkeypatch.setattr(Trainer, "step", step)
    code, said = run_cli("train", text, "--out", "run", *small())
    assert code == 15
    assert "--batch" in said
    assert "80 GiB" in said

    def broken(trainer):
        raise RuntimeError("something else")

    monkeypatch.setattr(Trainer, "step", broken)
    with pytest.raises(RuntimeError, match="something else"):
        main.train([text], out=text.parent / "other", options=Options())


def test_two_trainings_never_share_a_folder(run_cli, after_steps, text, small, tmp_path):
    def come_in_between(step):
        if step == 5:
            expect_refusals(run_cli, text, "run", small)
            signal.raise_signal(signal.SIGTERM)

    after_steps(come_in_between)
    assert run_cli("train", text, "--out", "run", *small(epochs=100_000))[0] == 143
    assert run_cli("train", text, "--out", "run", "--resume", "--epochs", "1")[0] == 0
    assert run_cli("train", text, "--out", "run", *small(epochs=0.1), "--overwrite")[0] == 0


def expect_refusals(run_cli, text, run, small):
    """Nothing can be trained in a folder while another training uses it, which goes on undisturbed."""
    for choice in ([], ["--overwrite"], ["--resume"]):
        options = [] if choice == ["--resume"] else small()
        code, said = run_cli("train", text, "--out", run, *options, *choice)
        assert (code, f"another training is using {run}" in said) == (11, True)
    load_checkpoint(Path(run))


@pytest.mark.slow
def test_a_folder_is_free_once_the_training_that_used_it_is_killed(run_cli, text, small, tmp_path):
    process = start_process(text, "run", *small(epochs=100_000, threads=1, patience=0))
    try:
        expect_refusals(run_cli, text, "run", small)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert run_cli("train", text, "--out", "run", "--resume", "--epochs", "1")[0] == 0
    assert run_cli("train", text, "--out", "run", *small(), "--overwrite")[0] == 0


def test_a_folder_that_another_run_takes_while_the_text_is_read_is_left_to_it(
    run_cli, text, small, tmp_path, monkeypatch
):
    original = read_corpus.read_corpus

    def read(*arguments, **options):
        monkeypatch.setattr(read_corpus, "read_corpus", original)
        assert run_cli("train", text, "--out", "run", *small())[0] == 0
        return original(*arguments, **options)

    monkeypatch.setattr(read_corpus, "read_corpus", read)
    code, said = run_cli("train", text, "--out", "run", *small(seed=5))
    assert (code, "holds a run already" in said) == (11, True)
    assert stored(tmp_path / "run")["seed"] == 1
