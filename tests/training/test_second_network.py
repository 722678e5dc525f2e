"""Another kind of network goes through training as the recurrent one does; its registry is passed in."""

import json
from dataclasses import replace

import pytest
import torch

from charloom.evaluation_config import EvaluationConfig
from charloom.vocabulary import CharacterVocabulary
from tests.networks.window import WINDOWS, WindowConfig
from training.checkpoint import CheckpointError, load_checkpoint, load_training_state
from training.data.read_corpus import read_corpus
from training.defaults import settled
from training.evaluate import evaluate
from training.folder import RunFolder
from training.hardware import resolve
from training.ranks import Ranks
from training.reporting.preview import PreviewConfig, preview
from training.reporting.reporter import Reporter
from training.run import ResumeError, fresh, resumed, stored_options, too_large
from training.transfer import transfer


@pytest.fixture
def windowed(options):
    return replace(options, model=WindowConfig(window=5, width=6))


def losses(trainer):
    return [{k: v for k, v in e.items() if k != "seconds"} for e in trainer.progress.evaluations]


def trained(windowed, make_trainer, out):
    trainer = make_trainer(windowed, out, networks=WINDOWS)
    trainer.run()
    return trainer


def begun(windowed, make_trainer, out):
    """Makes a run of a single step."""
    trainer = make_trainer(windowed, out, networks=WINDOWS)
    trainer.advance()
    trainer.save()


def test_it_learns(windowed, make_trainer, tmp_path):
    longer = replace(windowed, run=replace(windowed.run, epochs=6))
    trainer = trained(longer, make_trainer, tmp_path / "run")
    first, last = (trainer.progress.evaluations[i]["validation_loss"] for i in (0, -1))
    assert last < first - 1


def test_it_resumes_to_the_bit_with_a_state_of_integers(windowed, make_trainer, tmp_path):
    whole = trained(windowed, make_trainer, tmp_path / "whole")
    for steps in (1, 7, 33):
        run = tmp_path / f"{steps} steps"
        part = make_trainer(windowed, run, networks=WINDOWS)
        part.evaluate()
        for _ in range(steps):
            part.step()
            if part.due():
                part.evaluate()
        part.save()
        kept = load_training_state(run / "last").tensors["state.latest"]
        assert (kept.dtype, kept.shape) == (torch.int64, (4, 5))
        assert torch.equal(kept, part.state[0])
        torch.manual_seed(99)
        rest = make_trainer(windowed, run, resume=True, networks=WINDOWS)
        assert torch.equal(rest.state[0], kept)
        rest.run()
        assert losses(rest) == losses(whole)
        assert all(
            torch.equal(a, b) for a, b in zip(rest.model.parameters(), whole.model.parameters(), strict=True)
        )


def test_a_rank_takes_its_lanes_of_the_state(windowed, make_trainer, text, tmp_path):
    begun(windowed, make_trainer, tmp_path / "run")
    state = load_training_state(tmp_path / "run" / "last")
    corpus, hardware = read_corpus(text, windowed.corpus), resolve(windowed.hardware)
    folder, window = RunFolder(tmp_path / "run"), state.tensors["state.latest"]
    for rank in (0, 1):
        trainer = fresh(windowed, corpus, hardware, folder, Reporter(), networks=WINDOWS)
        trainer.ranks = Ranks(rank, 2)
        trainer.resume(state)
        assert torch.equal(trainer.state[0], window[rank::2])


@pytest.mark.parametrize("harm", ["name", "shape", "type"])
def test_a_state_of_another_form_is_refused(harm, windowed, make_trainer, tmp_path):
    begun(windowed, make_trainer, tmp_path / "run")
    state = load_training_state(tmp_path / "run" / "last")
    window = state.tensors.pop("state.latest")
    match harm:
        case "name":
            state.tensors["state.h_0"] = window
        case "shape":
            state.tensors["state.latest"] = window[:, 1:]
        case "type":
            state.tensors["state.latest"] = window.float()
    trainer = make_trainer(windowed, tmp_path / "run", networks=WINDOWS)
    with pytest.raises(CheckpointError, match="malformed: its state"):
        trainer.resume(state)


def test_run_and_resume_as_the_command_does(windowed, text, tmp_path, capsys):
    corpus, hardware = read_corpus(text, windowed.corpus), resolve(windowed.hardware)
    open_size = replace(windowed, model=WindowConfig(window=5))
    filled = settled(open_size, corpus, WINDOWS)
    assert filled.options.model == WindowConfig(5, 8)
    assert "8 width" in filled.reason
    folder = RunFolder(tmp_path / "run")
    folder.open(overwrite=False)
    trainer = fresh(filled.options, corpus, hardware, folder, Reporter(), networks=WINDOWS)
    trainer.describe(filled.reason)
    trainer.run()
    said = capsys.readouterr().err
    assert "model: window of 5 tokens, width 8, " in said
    assert "test loss" in said
    assert stored_options(load_checkpoint(folder.path, WINDOWS)) == filled.options
    longer = replace(filled.options, run=replace(filled.options.run, epochs=3))
    again = resumed(longer, corpus, hardware, folder, Reporter(), networks=WINDOWS)
    again.run()
    assert again.epoch == 3
    other = replace(longer, model=WindowConfig(4, 8))
    with pytest.raises(ResumeError, match="has window 5, not 4"):
        resumed(other, corpus, hardware, folder, Reporter(), networks=WINDOWS)
    assert "lower --width, or else --batch" in too_large(longer, corpus, hardware, WINDOWS)


def test_evaluation_preview_and_page(windowed, make_trainer, text, tmp_path):
    trainer = trained(windowed, make_trainer, tmp_path / "run")
    measured = evaluate(tmp_path / "run", text, EvaluationConfig(device="cpu"), WINDOWS)
    assert 0 < measured.nats_per_token < 4
    checkpoint = load_checkpoint(tmp_path / "run", WINDOWS)
    config = PreviewConfig(preview_temperatures=(0.0, 1.0), preview_length=30)
    greedy, sampled = preview(checkpoint.model(), checkpoint.vocabulary, config, (1, 2))
    assert len(greedy[1]) == len(sampled[1]) == 30
    assert preview(checkpoint.model(), checkpoint.vocabulary, config, (1, 2)) == [greedy, sampled]
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert samples[-1]["step"] == trainer.progress.step
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert '<tr class="changed"><th>width</th><td>6</td>' in page


def test_it_starts_from_another_one_of_its_kind(windowed, make_trainer, tmp_path):
    begun(windowed, make_trainer, tmp_path / "run")
    source = load_checkpoint(tmp_path / "run", WINDOWS)
    vocabulary = CharacterVocabulary("xe y")
    model = WINDOWS.build(source.config, vocabulary.inputs, vocabulary.size)
    said = transfer(source, model, vocabulary)
    assert "3 tokens kept, 1 added" in said
    mine, theirs = vocabulary.encode("e "), source.vocabulary.encode("e ")
    weights = source.weights
    assert torch.equal(model.vectors.weight[mine], weights["vectors.weight"][theirs])
    assert torch.equal(model.vectors.weight[-1], weights["vectors.weight"][-1]), "the start token"
    assert torch.equal(model.scores.bias[mine], weights["scores.bias"][theirs])
    assert torch.equal(model.hidden.weight, weights["hidden.weight"])


def test_without_its_registry_it_is_refused_by_name(windowed, make_trainer, tmp_path):
    begun(windowed, make_trainer, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"checkpoint\.json cannot be used: .*kind 'window'"):
        load_checkpoint(tmp_path / "run")


def test_ranks_gather_lanes_in_their_order():
    assert Ranks().gathered(torch.arange(6).view(3, 2)).tolist() == [[0, 1], [2, 3], [4, 5]]
