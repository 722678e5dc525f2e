"""A training on records: each from a fresh state to its end, long ones in several steps, with labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from charloom.chunk import UNCOUNTED
from charloom.records import RecordsConfig
from networks.recurrent.config import RecurrentConfig
from training.checkpoint import load_checkpoint, load_training_state
from training.data.config import BatchConfig, CorpusConfig
from training.options import Options
from training.ranks import Ranks
from training.trainer import Trainer

Make = Callable[..., Trainer]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows with labels, some of them longer than a step."""
    rows = [f"{'the loom goes '[: i % 15]}{i},{'xyz'[i % 3]}\n" for i in range(30)]
    (tmp_path / "a.csv").write_text("text,kind\n" + "".join(rows))
    return tmp_path / "a.csv"


@pytest.fixture
def of_records(options: Options) -> Options:
    return replace(
        options,
        model=RecurrentConfig(cells=8, embedding=4),
        records=RecordsConfig(text_column="text", label_column=("kind",)),
        corpus=CorpusConfig(train_fraction=0.7, validation_fraction=0.2),
        batches=BatchConfig(batch=5, length=8),
        run=replace(options.run, evaluate_every=9),
        preview=replace(options.preview, preview_length=0),
    )


def losses(trainer: Trainer) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k != "seconds"} for e in trainer.progress.evaluations]


def carried(trainer: Trainer) -> list[int]:
    """How many rows of each chunk of an epoch go on."""
    return [trainer.batches.carried(0, number) for number in range(trainer.batches.chunks)]


def test_a_run_that_is_resumed_after_every_step_equals_an_undisturbed_one(
    of_records: Options, table: Path, make_trainer: Make, tmp_path: Path
) -> None:
    whole = make_trainer(of_records, tmp_path / "whole", path=table)
    assert len({*carried(whole), 0}) > 2, "some chunks go on, with different numbers of rows"
    whole.run()
    part = make_trainer(of_records, tmp_path / "parts", path=table)
    part.advance()
    part.save()
    while not part.finished():
        torch.manual_seed(99)
        part = make_trainer(of_records, tmp_path / "parts", path=table, resume=True)
        part.advance()
        part.save()
    part.go_on()
    assert losses(part) == losses(whole)
    assert len(losses(whole)) > 2
    for mine, theirs in zip(part.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_step_goes_on_where_the_record_does_and_begins_afresh_with_another(
    of_records: Options, table: Path, make_trainer: Make, tmp_path: Path
) -> None:
    """The loss of an epoch is that of each record read alone, from the fresh state to its end."""
    plain = replace(of_records, regularisation=type(of_records.regularisation)())
    trainer = make_trainer(plain, tmp_path / "run", path=table)
    trainer.optimizer.step = lambda loss, rate: None  # type: ignore[method-assign]
    nats, answers = 0.0, 0
    for number in range(trainer.batches.chunks):
        before = float(trainer.loss_total)
        trainer.step()
        chunk = trainer.batches.chunk(0, number)
        nats += (float(trainer.loss_total) - before) * chunk.answers
        answers += int((chunk.targets != UNCOUNTED).sum())
    records = trainer.corpus.part("train")  # type: ignore[attr-defined]
    alone = 0.0
    for begin, count in zip(records.begins, records.counts, strict=True):
        label, *text = records.ids[begin : begin + count].tolist()
        fed = torch.tensor([label, records.start, *text[:-1]])[:, None]
        with torch.no_grad():
            scores, _ = trainer.model(fed, trainer.model.initial_state(1))
        alone += F.cross_entropy(scores[1:, 0], torch.tensor(text), reduction="sum").item()
    assert nats == pytest.approx(alone, rel=1e-5)
    assert answers == trainer.corpus.parts[0]


def test_it_learns_where_records_end_and_what_labels_mean(
    of_records: Options, make_trainer: Make, tmp_path: Path
) -> None:
    rows = [f"{label * 4}{i},{label}\n" for i in range(10, 100) for label in "pqr"]
    (tmp_path / "b.csv").write_text("text,kind\n" + "".join(rows))
    learnable = replace(
        of_records,
        regularisation=type(of_records.regularisation)(),
        run=replace(of_records.run, epochs=6, evaluate_every=0),
        optimizer=replace(of_records.optimizer, learning_rate=3e-2),
    )
    trainer = make_trainer(learnable, tmp_path / "run", path=tmp_path / "b.csv")
    best = trainer.run()
    # Two digits are all there is to guess: about 2 ln 10 nats of 7 tokens.
    assert 0.6 < best.summary["validation_loss"] < 0.8
    vocabulary, model = best.vocabulary, best.model()
    [label] = vocabulary.ids.label_ids(["q"])
    fed = torch.tensor([label, vocabulary.start, *vocabulary.encode("qqqq73").tolist()])[:, None]
    with torch.no_grad():
        scores, _ = model(fed, model.initial_state(1))
    assert int(scores[1, 0].argmax()) == vocabulary.find("q")
    assert int(scores[-1, 0].argmax()) == vocabulary.end


def test_steps_that_feed_labels_alone_change_nothing(
    of_records: Options, make_trainer: Make, tmp_path: Path
) -> None:
    (tmp_path / "b.csv").write_text("text,kind,mood\n" + "".join(f"ab{i},x,y\n" for i in range(40)))
    short = replace(
        of_records,
        records=RecordsConfig(text_column="text", label_column=("kind", "mood")),
        batches=BatchConfig(batch=4, length=1),
        run=replace(of_records.run, epochs=0.2),
    )
    trainer = make_trainer(short, tmp_path / "run", path=tmp_path / "b.csv")
    assert trainer.batches.chunk(0, 0).answers == 0
    trainer.step()
    assert trainer.training_loss() == 0
    assert trainer.run().summary["training_loss"] > 1


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_take_their_rows_of_a_state_however_many_saved_it(
    world: int, of_records: Options, table: Path, make_trainer: Make, tmp_path: Path
) -> None:
    """Where the rows of a step are no multiple of the ranks, some ranks have one that fills up."""
    options = replace(of_records, batches=BatchConfig(batch=12, length=6))
    trainer = make_trainer(options, tmp_path / "run", path=table)
    number = next(n for n, rows in enumerate(carried(trainer)) if rows % world)
    trainer.evaluate()
    for _ in range(number):
        trainer.step()
    trainer.save()
    saved = load_training_state(tmp_path / "run" / "last")
    trainer.next_chunk()
    alone = trainer.state[0]  # of the rows that go on
    for rank in range(world):
        one = make_trainer(options, tmp_path / "run", path=table)
        one.ranks = Ranks(rank, world)
        one.batches = one.corpus.batches(options.batches, options.run.seed, one.ranks, one.hardware)
        one.resume(saved)
        chunk = one.next_chunk()
        expected = alone[rank::world]
        assert len(one.state[0]) == chunk.inputs.shape[1] == -(-len(alone) // world)
        assert torch.equal(one.state[0][: len(expected)], expected)


def test_train_and_resume_as_commands_do(
    run_cli: Callable[..., Any], small: Callable[..., tuple[str, ...]], table: Path, tmp_path: Path
) -> None:
    columns = ("--text-column", "text", "--label-column", "kind")
    code, said = run_cli("train", table, "--out", "run", *columns, *small(min_count=2))
    assert code == 0, said
    assert "in 30 records" in said
    best = load_checkpoint(tmp_path / "run")
    assert [column.values for column in best.vocabulary.ids.special.labels] == [("x", "y", "z")]
    assert best.vocabulary.unknown is not None
    code, said = run_cli("train", table, "--out", "run", "--resume", "--epochs", 2)
    assert code == 0, said
    assert load_checkpoint(tmp_path / "run" / "last").summary["epoch"] == 2
    code, said = run_cli(
        "train", table, "--out", "run", "--resume", "--records", "lines", "--text-column", ""
    )
    assert code != 0
    table.write_text(table.read_text() + "one more,x\n")
    code, said = run_cli("train", table, "--out", "run", "--resume", "--epochs", 3)
    assert (code, "is not the text" in said) == (14, True)


@pytest.mark.slow  # sweeps that go on are tested, and runs on records
def test_a_sweep_over_records_goes_on_with_the_same_command(
    run_cli: Callable[..., Any], small: Callable[..., tuple[str, ...]], table: Path, tmp_path: Path
) -> None:
    command = ("sweep", table, "--out", "sweep", "--text-column", "text", "--label-column", "kind")
    command += ("--vary", "cells=4,8", *small())
    for trials in (1, 2):
        code, said = run_cli(*command, "--trials", trials)
        assert code == 0, said
    assert load_checkpoint(tmp_path / "sweep").vocabulary.end is not None
    code, said = run_cli("sweep", table, "--out", "sweep", "--vary", "cells=4,8", *small())
    assert (code, "keeps its text, its options" in said) == (21, True)
