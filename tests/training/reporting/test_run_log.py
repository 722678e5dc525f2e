"""What a run leaves in its folder beside checkpoints, however often it is killed and taken up again."""

import importlib.util
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from charloom.errors import how_to_install
from training.checkpoint import load_training_state
from training.reporting.run_log import RunLogConfig
from training.trainer import DivergedError

FIELDS = (
    "step",
    "epoch",
    "training_loss",
    "validation_loss",
    "learning_rate",
    "characters_per_second",
    "seconds",
)


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]


def untimed(records):
    return [one | {"seconds": 0, "characters_per_second": 0} for one in records]


@pytest.fixture
def noting(options):
    """Notes of every seventh step, which are no evaluations but by chance."""
    return replace(options, run_log=RunLogConfig(metrics_every=7))


def killed_after(trainer, steps, *, saved_at):
    """Goes on for some steps, saves in between as time would have it, and is killed."""
    for _ in range(steps):
        if trainer.report.log.due(trainer.progress.step) and not trainer.progress.evaluated:
            trainer.record()
        trainer.step()
        if trainer.due():
            trainer.evaluate()
        if trainer.progress.step == saved_at:
            trainer.save()


def test_every_note_of_a_run(noting, make_trainer, tmp_path):
    trainer = make_trainer(noting, tmp_path / "run")
    trainer.run()
    notes = lines(tmp_path / "run")
    total = trainer.progress.step
    evaluated = {one["step"]: one for one in trainer.progress.evaluations}
    assert [one["step"] for one in notes] == sorted({*range(7, total, 7), *evaluated})
    for one in notes:
        assert tuple(one) == FIELDS
        known = evaluated.get(one["step"])
        assert one["validation_loss"] == (known and known["validation_loss"])
        assert one["epoch"] == one["step"] / trainer.batches.chunks
        assert (one["training_loss"] is None) == (one["step"] == 0)
    assert [one["seconds"] for one in notes] == sorted(one["seconds"] for one in notes)
    assert all(one["characters_per_second"] > 0 for one in notes[1:])
    # The mean of the steps since the note before: weighted by their steps, that since the evaluation before.
    window = [one for one in notes if 20 < one["step"] <= 40]
    sizes = [
        b - a
        for a, b in zip([20, *(one["step"] for one in window)], (one["step"] for one in window), strict=False)
    ]
    mean = sum(one["training_loss"] * size for one, size in zip(window, sizes, strict=True)) / 20
    assert mean == pytest.approx(evaluated[40]["training_loss"])


def test_a_killed_run_has_the_notes_of_an_undisturbed_one(noting, make_trainer, tmp_path):
    make_trainer(noting, tmp_path / "whole").run()
    for steps, saved_at in ((30, 23), (30, 21), (30, 28), (21, 21), (45, None), (29, 25), (40, 33)):
        run = tmp_path / f"killed after {steps}, saved at {saved_at}"
        part = make_trainer(noting, run)
        part.evaluate()
        killed_after(part, steps, saved_at=saved_at)
        ahead = lines(run)[-1]["step"]
        last = load_training_state(run / "last").progress["step"]
        assert last <= ahead or saved_at == steps
        with (run / "metrics.jsonl").open("ab") as file:
            file.write(b'{"step": 1000000, "trai')
        again = make_trainer(noting, run, resume=True)
        assert all(one["step"] <= last for one in lines(run))
        again.run()
        for name in ("metrics.jsonl", "samples.jsonl"):
            parts, whole = (lines(folder, name) for folder in (run, tmp_path / "whole"))
            assert untimed(parts) == untimed(whole)


def test_a_run_over_another_one_begins_its_notes_anew(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "run", *small(epochs=3, preview_length=9, metrics_every=5))[0] == 0
    before = lines(tmp_path / "run")
    code, _ = run_cli("train", text, "--out", "run", "--overwrite", *small(seed=5, preview_length=9))
    assert code == 0
    after = lines(tmp_path / "run")
    assert after[-1]["step"] < before[-1]["step"]
    assert after[0]["validation_loss"] != before[0]["validation_loss"]
    assert [one["step"] for one in lines(tmp_path / "run", "samples.jsonl")] == [after[-1]["step"]]


def test_samples_are_noted_as_they_are_shown(options, make_trainer, tmp_path):
    trainer = make_trainer(options, tmp_path / "run")
    trainer.run()
    samples = lines(tmp_path / "run", "samples.jsonl")
    assert [one["step"] for one in samples] == [one["step"] for one in trainer.progress.evaluations[1:]]
    for one in samples:
        [shown] = one["samples"]
        assert shown["temperature"] == 0.8
        assert len(shown["text"]) == 20


class Checked(HTMLParser):
    """Sees that tags are closed as they were opened, that nothing runs, and that nothing is loaded."""

    EMPTY = frozenset({"meta", "br", "path", "circle", "polyline"})

    def __init__(self):
        super().__init__()
        self.stack = []
        self.seen = set()
        self.said = []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe", "object", "base")
        assert not [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]
        self.seen.add(tag)
        if tag not in self.EMPTY:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def checked(folder):
    page = Checked()
    content = (folder / "report.html").read_text("utf-8")
    page.feed(content)
    page.close()
    assert page.stack == []
    assert "url(" not in content
    assert "default-src 'none'" in content
    return page, "".join(page.said)


EVIL = "<script>alert('&')</script> \u202e\x1b[2J <img src=x onerror=y> {{ 7 * 7 }} {% raw %}\n"


def test_the_page_of_a_text_that_would_like_to_run(run_cli, small, tmp_path):
    path = tmp_path / "<b>evil & {{ x }}.txt"
    path.write_text(EVIL * 30, "utf-8")
    # A model that has learnt its text by heart writes it.
    learning = {"epochs": 10, "layers": 1, "cells": 48, "learning_rate": 0.03}
    options = small(**learning, preview_length=300, preview_temperatures=0)
    assert run_cli("train", path, "--out", "a<i>b", *options)[0] == 0
    page, said = checked(tmp_path / "a<i>b")
    assert "<script>alert('&')</script>" in said
    assert "a<i>b" in said
    assert "<b>evil & {{ x }}.txt" in said
    assert not page.seen & {"b", "i"}
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_the_page_says_what_there_is_to_know(options, make_trainer, text, tmp_path):
    trainer = make_trainer(replace(options, run=replace(options.run, epochs=3)), tmp_path / "run")
    trainer.evaluate()
    _, said = checked(tmp_path / "run")
    for words in ("0% done", "Too early to say", "None so far", "nothing yet"):
        assert words in said
    trainer.run()
    page, said = checked(tmp_path / "run")
    summary = trainer.report.summary.summary(trainer.progress)
    for words in (
        "done; as of",
        f"{trainer.progress.best_loss:.4f}",
        f"{summary['parameters']:,}",
        f"{len(text.read_text()):,}",
        "verse.txt",
        "space",
        "newline",
        "test loss",
        "rmsprop" if options.optimizer.optimizer == "rmsprop" else "adamw",
        "learning-rate",
        summary["hardware"]["torch"],
    ):
        assert words in said
    assert said.count("at temperature 0.8") == len(trainer.progress.evaluations) - 1
    assert "svg" in page.seen
    content = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert '<tr class="changed"><th>cells</th><td>24</td>' in content
    assert "<tr><th>layers</th><td>2</td>" in content
    assert content.count("<polyline") == 4


def test_a_long_run_shows_samples_from_all_of_it(options, make_trainer, tmp_path):
    options = replace(options, run=replace(options.run, evaluate_every=3))
    trainer = make_trainer(options, tmp_path / "run")
    trainer.run()
    _, said = checked(tmp_path / "run")
    assert said.count("at temperature 0.8") == 12
    assert f"Epoch {trainer.epoch:.2f}" in said
    assert f"Epoch {3 / trainer.batches.chunks:.2f}" in said


def test_the_page_is_there_whole_or_as_it_was(options, make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(options, tmp_path / "run")
    trainer.evaluate()
    before = (tmp_path / "run" / "report.html").read_bytes()
    seen = []
    render = trainer.report.log.page.render
    monkeypatch.setattr(
        trainer.report.log.page,
        "render",
        lambda *given: seen.append((tmp_path / "run" / "report.html").read_bytes()) or render(*given),
    )
    trainer.show("something else")
    assert seen == [before]
    assert "something else" in checked(tmp_path / "run")[1]
    assert not list((tmp_path / "run").glob(".partial*"))


def test_a_page_says_how_a_run_ended_that_diverged(options, make_trainer, tmp_path):
    wild = replace(
        options,
        optimizer=replace(options.optimizer, learning_rate=1e38, clip=0, optimizer="rmsprop", warmup=0),
        run_log=RunLogConfig(metrics_every=1),
    )
    with pytest.raises(DivergedError):
        make_trainer(wild, tmp_path / "run").run()
    assert "the loss was no number any more" in checked(tmp_path / "run")[1]
    assert all(one["training_loss"] is None or one["training_loss"] >= 0 for one in lines(tmp_path / "run"))


def test_what_a_kill_left_of_a_page_is_cleared(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "run", *small())[0] == 0
    (tmp_path / "run" / ".partial-report.html").write_text("half")
    (tmp_path / "run" / ".partial-last").write_text("half")
    assert run_cli("train", text, "--out", "run", "--resume", "--epochs", 2)[0] == 0
    assert not list((tmp_path / "run").glob(".partial*"))


def test_tensorboard_shows_each_step_once(run_cli, text, small, tmp_path):
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip(f"no tensorboard: {how_to_install('tensorboard')}")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run_cli("train", text, "--out", "run", *small(metrics_every=10), "--tensorboard")[0] == 0
    assert run_cli("train", text, "--out", "run", "--resume", "--epochs", 2)[0] == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    notes = lines(tmp_path / "run")
    for name, tag in (
        ("training_loss", "loss/training"),
        ("validation_loss", "loss/validation"),
        ("learning_rate", "learning_rate"),
        ("characters_per_second", "characters_per_second"),
    ):
        seen = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [(one["step"], pytest.approx(one[name])) for one in notes if one[name] is not None]
        assert seen == expected


def test_tensorboard_that_is_missing_is_named_before_anything_is_done(
    run_cli, text, small, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    code, said = run_cli("train", text, "--out", "run", *small(), "--tensorboard")
    assert code == 1
    assert said.endswith(f"needs the package tensorboard: {how_to_install('tensorboard')}\n")
    assert not (tmp_path / "run").exists()
