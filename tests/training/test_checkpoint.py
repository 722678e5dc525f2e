import errno
import json
import os
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import save_file

from charloom import files
from tests.disk import Disk
from training.checkpoint import CheckpointError, SaveError, load_checkpoint, load_training_state

RECURRENT = {"kind": "recurrent", "version": 1, "config": {"cells": 24}}


@pytest.fixture
def run(options, make_trainer, tmp_path):
    trainer = make_trainer(options, tmp_path / "run")
    trainer.evaluate()
    trainer.step()
    trainer.evaluate()
    return tmp_path / "run"


def test_a_run_its_pointers_and_its_checkpoints_can_be_loaded(run):
    best = load_checkpoint(run)
    assert best.name == load_checkpoint(run / "best").name == load_checkpoint(run / best.name).name
    tokens = torch.tensor([[best.vocabulary.start]])
    model = best.model()
    with torch.no_grad():
        scores, _ = model(tokens, model.initial_state(1))
    assert scores.shape == (1, 1, best.vocabulary.size)


@pytest.mark.parametrize("name", ["weights.safetensors", "held_out.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("harm", ["truncate", "alter", "delete", "garbage"])
def test_damage_is_found_and_the_file_is_named(run, name, harm):
    file = run / (run / "best").read_text().strip() / name
    data = file.read_bytes()
    match harm:
        case "truncate":
            file.write_bytes(data[: len(data) // 2])
        case "alter":
            file.write_bytes(b"\x01" + data[1:])
        case "delete":
            file.unlink()
        case "garbage":
            file.write_bytes(os.urandom(300))
    with pytest.raises(CheckpointError, match=name if harm != "delete" else file.parent.name):
        load_checkpoint(run)


def test_a_damaged_training_state_is_found(run):
    (run / (run / "last").read_text().strip() / "training.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"training\.safetensors"):
        load_training_state(run / "last")
    load_checkpoint(run / "last")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "does not describe"),
        ({"format": 4}, "has format 4"),
        ({"vocabulary": {"kind": "word"}}, "unknown kind of vocabulary 'word'"),
        ({"vocabulary": {"kind": "character", "characters": ["a", "b"]}}, r"weights\.safetensors"),
        ({"options": {}}, "malformed"),
        ({"options": {"model": 3}}, "does not state the kind of its network"),
        ({"options": {"model": {"kind": 3}}}, "does not state the kind of its network"),
        ({"options": []}, "malformed"),
        (
            {"options": {"model": RECURRENT | {"kind": "tree"}}},
            "kind 'tree', and this Charloom has recurrent",
        ),
        ({"options": {"model": RECURRENT | {"version": 2}}}, "has version 2, .* update Charloom"),
        ({"options": {"model": RECURRENT | {"version": 0}}}, "malformed"),
        ({"options": {"model": RECURRENT | {"version": None}}}, "malformed"),
        ({"options": {"model": RECURRENT | {"config": []}}}, "malformed"),
        ({"options": {"model": RECURRENT | {"config": {"cells": -3}}}}, "malformed: Expected `int` >= 0"),
        ({"options": {"model": RECURRENT | {"config": {"cells": "many"}}}}, "malformed: Expected `int`"),
        ({"options": {"model": RECURRENT | {"config": {"cells": 0}}}}, "malformed: a size is left open"),
        ({"options": {"model": RECURRENT | {"config": {"colour": 3}}}}, "malformed: it has colour"),
        ({"summary": None}, r"checkpoint\.json is malformed: its summary"),
        ({"summary": {"hardware": {}}}, "its summary has no text"),
        ({"summary": {"text": None, "hardware": {}}}, "its summary has no text"),
        ({"summary": {"text": {}, "hardware": {}}}, "sha256"),
        ({"summary": {"text": {"sha256": ""}}}, "its summary has no hardware"),
    ],
)
def test_foreign_manifests_are_refused(run, change, message):
    file = run / (run / "best").read_text().strip() / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(run)


@pytest.mark.parametrize(
    "change",
    [
        {"step": None},
        {"step": -1},
        {"seconds": "1"},
        {"evaluations": None},
        {"evaluations": []},
        {"evaluations": [{"step": 1}]},
        {"colour": 3},
    ],
)
def test_odd_progress_is_refused(run, change, options, make_trainer):
    file = run / (run / "last").read_text().strip() / "checkpoint.json"
    manifest = json.loads(file.read_text())
    manifest["progress"] |= change
    file.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="malformed"):
        make_trainer(options, run, resume=True)


@pytest.mark.parametrize("pointer", ["../elsewhere", "", "..", "no-such-checkpoint", "a\nb", "\0"])
def test_pointers_never_leave_the_folder(run, pointer):
    (run / "best").write_text(pointer)
    with pytest.raises(CheckpointError, match="best"):
        load_checkpoint(run)


def test_paths_without_a_checkpoint_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"\xff\xfe" * 50)
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    for path in (tmp_path, tmp_path / "none", tmp_path / "notes.txt", tmp_path / "foreign.safetensors"):
        with pytest.raises(CheckpointError, match=path.name):
            load_checkpoint(path)


def test_a_failed_write_leaves_all_that_was_there(run, options, make_trainer, monkeypatch):
    trainer = make_trainer(options, run, resume=True)
    trainer.step()
    before = sorted(p.name for p in run.iterdir())

    def full(file, data):
        file.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_synced", full)
    with pytest.raises(SaveError, match="No space left"):
        trainer.save()
    assert sorted(p.name for p in run.iterdir()) == before
    load_checkpoint(run / "last")


def test_a_checkpoint_is_on_disk_before_a_pointer_names_it(options, make_trainer, monkeypatch, tmp_path):
    trainer = make_trainer(options, tmp_path / "run")
    disk = Disk(monkeypatch)
    trainer.evaluate()
    name = (tmp_path / "run" / "last").read_text().strip()
    of_page = ("report.html", ".partial-report.html")
    order = [(what, path) for what, path in disk.order if not path.endswith((".jsonl", *of_page))]
    assert order[:13] == [
        ("sync", "weights.safetensors"),
        ("sync", "training.safetensors"),
        ("sync", "held_out.safetensors"),
        ("sync", "checkpoint.json"),
        ("sync", f".partial-{name}"),
        ("rename", name),
        ("sync", "run"),
        ("sync", ".partial-best"),
        ("rename", "best"),
        ("sync", "run"),
        ("sync", ".partial-last"),
        ("rename", "last"),
        ("sync", "run"),
    ]
    for what, path, size in disk.events:
        if what == "sync" and path.parent.name == f".partial-{name}":
            assert size == (tmp_path / "run" / name / path.name).stat().st_size > 0


def test_a_full_disk_keeps_the_previous_checkpoint(options, make_trainer, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        trainer = make_trainer(options, disk / "run")
        with pytest.raises(SaveError, match="No space left"):
            trainer.run()
        names = {p.name for p in (disk / "run").iterdir()}
        last = load_checkpoint(disk / "run" / "last")
        assert names >= {"best", "last", last.name}
        assert not [name for name in names if name.startswith(".partial-epoch")]
        shutil.copytree(disk / "run", tmp_path / "copy")
        rest = make_trainer(options, tmp_path / "copy", resume=True)
        rest.run()
        assert rest.finished()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_leftovers_are_cleared_and_foreign_files_kept(run, options, make_trainer):
    (run / ".partial-epoch9.99_loss9.9999").mkdir()
    (run / "mine.txt").write_text("keep me")
    (run / "epochs").mkdir()
    trainer = make_trainer(options, run)
    assert not list(run.glob(".partial-*"))
    trainer.folder.open(overwrite=True)
    assert sorted(p.name for p in run.iterdir()) == ["epochs", "mine.txt"]


@pytest.mark.parametrize("name", ["best", "last", "tokens", "metrics.jsonl", "samples.jsonl", "report.html"])
def test_a_folder_with_files_of_somebody_else_is_left_as_it_is(name, run_cli, text, small, tmp_path):
    mine = tmp_path / "mine" / name
    mine.parent.mkdir()
    mine.write_text("mine")
    code, said = run_cli("train", text, "--out", mine.parent, *small())
    assert code == 11
    assert "mine has a" in said or "mine holds a run already" in said
    assert name in said or name == "last"
    assert [p.name for p in mine.parent.iterdir()] == [name]
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_text_is_not_replaced_by_what_is_made_of_it(command, run_cli, text, small, tmp_path):
    tokens = text.rename(tmp_path / "tokens")
    written = tokens.read_text()
    vary = ("--vary", "cells=8,16") if command == "sweep" else ()
    code, said = run_cli(command, tokens, "--out", tmp_path, *small(), *vary)
    assert code == 11
    assert "choose another --out" in said
    assert tokens.read_text() == written


def test_a_copied_run_without_its_lock_goes_on(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", tmp_path / "run", *small())[0] == 0
    (tmp_path / "run" / ".lock").unlink()
    assert run_cli("train", text, "--out", tmp_path / "run", "--resume", "--epochs", 2)[0] == 0
