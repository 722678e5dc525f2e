import errno
import signal
import time
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from networks.recurrent.config import RecurrentConfig
from training import evaluation
from training.checkpoint import load_checkpoint, load_training_state
from training.data.read_corpus import read_corpus
from training.folder import RunFolder
from training.hardware import emulates_bfloat16
from training.interrupt import StoppedError
from training.optimizer import OptimizerConfig
from training.regularisation import RegularisationConfig
from training.trainer import DivergedError


def losses(trainer):
    return [{k: v for k, v in e.items() if k != "seconds"} for e in trainer.progress.evaluations]


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def stopped_after(trainer, steps):
    """Leaves a run as a signal after so many steps would."""
    trainer.evaluate()
    for _ in range(steps):
        trainer.step()
        if trainer.progress.step % trainer.schedule.interval == 0:
            trainer.evaluate()
    trainer.save()


@pytest.mark.parametrize(
    ("cell", "all_stops"),
    [
        ("lstm", ([1], [20], [33, 5])),
        ("gru", ([33, 5],)),
        pytest.param("rnn", ([33, 5],), marks=pytest.mark.slow),
        pytest.param("gru", ([1], [20]), marks=pytest.mark.slow),
        pytest.param("rnn", ([1], [20]), marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_an_undisturbed_one(cell, all_stops, options, make_trainer, tmp_path):
    options = replace(options, model=replace(options.model, cell=cell))
    whole = make_trainer(options, tmp_path / "whole")
    whole.run()
    for stops in all_stops:
        out = tmp_path / f"parts {stops}"
        for number, steps in enumerate(stops):
            part = make_trainer(options, out, resume=number > 0)
            if number == 0:
                part.evaluate()
            for _ in range(steps):
                part.step()
                if part.progress.step % part.schedule.interval == 0:
                    part.evaluate()
            part.save()
        torch.manual_seed(99)
        rest = make_trainer(options, out, resume=True)
        rest.run()
        assert rest.progress.step == whole.progress.step > 60
        assert losses(rest) == losses(whole)
        assert same_weights(rest.model, whole.model)


def test_resuming_at_the_end_of_an_epoch(options, make_trainer, tmp_path):
    whole = make_trainer(options, tmp_path / "whole")
    whole.run()
    stopped_after(make_trainer(options, tmp_path / "parts"), whole.batches.chunks)
    rest = make_trainer(options, tmp_path / "parts", resume=True)
    rest.run()
    assert losses(rest) == losses(whole)
    assert same_weights(rest.model, whole.model)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_muon_resumes_exactly_too(cell, options, make_trainer, tmp_path):
    muon = replace(options.optimizer, optimizer="muon")
    options = replace(options, model=replace(options.model, cell=cell), optimizer=muon)
    whole = make_trainer(options, tmp_path / "whole")
    whole.run()
    stopped_after(make_trainer(options, tmp_path / "parts"), 30)
    rest = make_trainer(options, tmp_path / "parts", resume=True)
    rest.run()
    assert losses(rest) == losses(whole)
    assert same_weights(rest.model, whole.model)


@pytest.mark.skipif(not emulates_bfloat16(), reason="this processor has no kernels in bfloat16")
def test_bfloat16_resumes_exactly_too(options, make_trainer, tmp_path):
    options = replace(options, hardware=replace(options.hardware, precision="bfloat16"))
    whole = make_trainer(options, tmp_path / "whole")
    whole.run()
    stopped_after(make_trainer(options, tmp_path / "parts"), 30)
    rest = make_trainer(options, tmp_path / "parts", resume=True)
    rest.run()
    assert losses(rest) == losses(whole)


@pytest.mark.parametrize("changes", [{}, {"cell": "gru", "embedding": 0}, {"cell": "rnn", "layers": 1}])
def test_the_loss_falls_on_a_repetitive_text(changes, options, make_trainer, tmp_path):
    run, optimizer = replace(options.run, epochs=8, evaluate_every=0), OptimizerConfig(learning_rate=2e-2)
    model = replace(options.model, **changes)
    options = replace(options, model=model, run=run, optimizer=optimizer)
    trainer = make_trainer(options, tmp_path / "run")
    best = trainer.run()
    first, last = (trainer.progress.evaluations[i]["validation_loss"] for i in (0, -1))
    assert first > 3
    assert last < 1
    assert best.summary["validation_loss"] == trainer.progress.best_loss


@pytest.mark.parametrize("fresh", [0, 1, 2])
def test_lanes_carry_their_state_from_chunk_to_chunk_unless_they_are_fresh(
    fresh, options, make_trainer, tmp_path
):
    """Where the state goes on, chunks give what the whole lane gives at once; else what each gives alone."""
    options = replace(
        options,
        model=RecurrentConfig(cells=8, embedding=4),
        regularisation=RegularisationConfig(),
        batches=replace(options.batches, start_rate=fresh / 4),
    )
    trainer = make_trainer(options, tmp_path / "run")
    trainer.optimizer.step = lambda loss, rate: None
    chunks = [trainer.batches.chunk(0, i) for i in range(3)]
    alone = [trainer.model(chunk.inputs, trainer.model.initial_state(4)) for chunk in chunks]
    whole = trainer.model(torch.cat([chunk.inputs for chunk in chunks]), trainer.model.initial_state(4))
    for _ in range(3):
        trainer.step()
    scores = torch.cat([whole[0][:, : 4 - fresh], torch.cat([each[0] for each in alone])[:, 4 - fresh :]], 1)
    for mine, carried, begun in zip(trainer.state, whole[1], alone[-1][1], strict=True):
        torch.testing.assert_close(mine, torch.cat([carried[: 4 - fresh], begun[4 - fresh :]]).detach())
    parts = scores.split([len(chunk.targets) for chunk in chunks])
    losses = [
        F.cross_entropy(part.flatten(0, 1), chunk.targets.flatten()).item()
        for part, chunk in zip(parts, chunks, strict=True)
    ]
    assert trainer.training_loss() == pytest.approx(sum(losses) / 3, 1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_evaluation_in_mid_epoch_changes_nothing_of_the_training(cell, options, make_trainer, tmp_path):
    options = replace(options, model=replace(options.model, cell=cell))
    plain, evaluated = (make_trainer(options, tmp_path / name) for name in ("plain", "evaluated"))
    assert plain.batches.chunks > 8
    for step in range(8):
        plain.step()
        if step in (1, 5):
            evaluated.evaluate()
        evaluated.step()
        for mine, theirs in zip(evaluated.state, plain.state, strict=True):
            assert torch.equal(mine, theirs), f"after step {step}"
    assert same_weights(evaluated.model, plain.model)


def test_a_checkpoint_comes_before_the_first_step(options, make_trainer, tmp_path):
    trainer = make_trainer(options, tmp_path / "run")
    trainer.evaluate()
    first = load_checkpoint(tmp_path / "run")
    assert first.name.startswith("epoch0.00_loss")
    assert first.summary["steps"] == 0
    assert first.summary["training_loss"] is None


def test_patience_ends_a_run_that_gets_no_better(options, make_trainer, tmp_path):
    hopeless = replace(
        options,
        optimizer=replace(options.optimizer, learning_rate=1e-30),
        run=replace(options.run, epochs=50, evaluate_every=2, patience=3),
    )
    trainer = make_trainer(hopeless, tmp_path / "run")
    trainer.run()
    assert trainer.progress.step <= 20


def test_minutes_end_a_run_and_lower_its_rate(options, make_trainer, after_steps, pass_time, tmp_path):
    timed = replace(options, run=replace(options.run, epochs=100_000, max_minutes=0.5, evaluate_every=0))
    trainer = make_trainer(timed, tmp_path / "run")
    after_steps(lambda step: pass_time(1))
    trainer.run()
    assert (trainer.progress.step, trainer.clock.elapsed()) == (30, 30)
    assert trainer.progress.evaluations[-1]["learning_rate"] < 0.1 * options.optimizer.learning_rate


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(options, make_trainer, tmp_path):
    wild = replace(
        options,
        optimizer=replace(options.optimizer, learning_rate=1e38, clip=0, optimizer="rmsprop", warmup=0),
    )
    trainer = make_trainer(wild, tmp_path / "run")
    with pytest.raises(DivergedError, match="--learning-rate"):
        trainer.run()
    kept = load_checkpoint(tmp_path / "run" / "last")
    assert all(value.isfinite().all() for value in kept.weights.values())


def test_weights_that_are_no_numbers_are_not_saved(options, make_trainer, tmp_path):
    trainer = make_trainer(options, tmp_path / "run")
    trainer.advance()
    with torch.no_grad():
        trainer.model.output.bias.fill_(torch.nan)
    with pytest.raises(DivergedError):
        trainer.save()
    kept = load_checkpoint(tmp_path / "run" / "last")
    assert all(value.isfinite().all() for value in kept.weights.values())


def test_a_checkpoint_that_cannot_be_dropped_stays(options, make_trainer, tmp_path):
    class Stuck(RunFolder):
        def prune(self, keep):
            raise OSError(errno.EBUSY, "in use")

    trainer = make_trainer(replace(options, run=replace(options.run, evaluate_every=3)), tmp_path / "run")
    trainer.folder = Stuck(tmp_path / "run")
    trainer.run()
    assert len(trainer.folder.checkpoints()) == len(trainer.progress.evaluations)


def test_only_best_last_and_some_others_are_kept(options, make_trainer, tmp_path):
    many = replace(options, run=replace(options.run, evaluate_every=3, keep=2))
    trainer = make_trainer(many, tmp_path / "run")
    trainer.run()
    assert len(trainer.progress.evaluations) > 10
    assert len(trainer.folder.checkpoints()) <= 4
    assert load_training_state(tmp_path / "run" / "last").progress["step"] == trainer.progress.step


def test_the_checkpoint_says_where_it_comes_from(options, make_trainer, text, tmp_path):
    best = make_trainer(options, tmp_path / "run").run()
    corpus = read_corpus(text, options.corpus)
    assert best.summary["text"] == corpus.summary()
    assert best.summary["hardware"]["precision"] == "float32"
    assert best.summary["hardware"]["torch"] == torch.__version__
    assert best.held_out.tolist() == corpus.part("validation").tolist()
    assert best.options["model"]["config"]["cells"] == options.model.cells
    model = best.model()
    assert not model.training
    assert model.parameter_count() == best.summary["parameters"]


def signalled_in(evaluation, trainer, number=signal.SIGTERM):
    """Runs a trainer that gets a signal in the middle of an evaluation, counted from 0."""

    def busy(doing, share):
        if len(trainer.progress.evaluations) == evaluation and doing == "validating":
            trainer.interrupt.note(number, None)

    trainer.reporter.busy = busy
    with pytest.raises(StoppedError) as stopped:
        trainer.run()
    return stopped.value


def test_a_signal_in_an_evaluation_saves_the_step_and_the_run_goes_on_exactly(
    options, make_trainer, tmp_path
):
    whole = make_trainer(options, tmp_path / "whole")
    whole.run()
    part = make_trainer(options, tmp_path / "two parts")
    stopped = signalled_in(2, part)
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert f"--out '{tmp_path / 'two parts'}' --resume" in str(stopped)
    assert part.model.training
    kept = load_training_state(tmp_path / "two parts" / "last").progress
    assert (kept["step"], len(kept["evaluations"])) == (2 * options.run.evaluate_every, 2)
    rest = make_trainer(options, tmp_path / "two parts", resume=True)
    rest.run()
    assert losses(rest) == losses(whole)
    assert same_weights(rest.model, whole.model)


def test_a_signal_in_the_first_evaluation_ends_a_run_that_has_nothing_to_keep(
    options, make_trainer, tmp_path
):
    stopped = signalled_in(0, make_trainer(options, tmp_path / "run"), signal.SIGINT)
    assert stopped.exit_code == 130
    assert "nothing to save" in str(stopped)
    assert not (tmp_path / "run" / "last").exists()
    make_trainer(options, tmp_path / "run").run()


def test_a_signal_while_the_test_loss_is_measured_keeps_the_finished_run(options, make_trainer, tmp_path):
    trainer = make_trainer(options, tmp_path / "run")
    trainer.reporter.busy = lambda doing, share: (
        trainer.interrupt.note(signal.SIGINT, None) if doing == "testing" else None
    )
    with pytest.raises(StoppedError):
        trainer.run()
    assert make_trainer(options, tmp_path / "run", resume=True).finished()


def test_evaluations_count_into_neither_speed_nor_steps_to_come(options, make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(options, tmp_path / "run")
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def busy(doing, share):
        clock[0] += 50

    trainer.reporter.busy = busy
    trainer.evaluate()
    passes = trainer.clock.evaluation_seconds
    assert passes >= 50
    trainer.step()
    clock[0] += 0.5
    status = trainer.status()
    seen = trainer.batches.tokens_per_step
    assert status.speed == pytest.approx(seen / (trainer.clock.training_seconds()))
    steps = trainer.schedule.steps - 1
    to_come = -(-steps // options.run.evaluate_every) * passes
    assert status.seconds_left == pytest.approx(steps * trainer.clock.training_seconds() + to_come)
    assert trainer.clock.training_seconds() < 5


def test_every_evaluation_measures_as_much_as_the_first(options, make_trainer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "SCORES", 32 * 40)
    trainer = make_trainer(options, tmp_path / "run")
    chunk, whole = 32 * 40 // trainer.corpus.vocabulary.size, len(trainer.corpus.part("validation"))
    trainer.schedule = replace(trainer.schedule, held_out=chunk + 1)
    trainer.evaluate()
    assert trainer.progress.held_out == 2 * chunk < whole
    assert f"each evaluation measures {2 * chunk} of {whole}" in capsys.readouterr().err
    again = make_trainer(options, tmp_path / "run", resume=True)
    assert again.held_out_loss("validation", "validating").tokens == 2 * chunk
    again.step()
    again.evaluate()
    assert "each evaluation" not in capsys.readouterr().err
