import numpy as np
import pytest
import torch
from torch.nn import functional as F

from charloom.evaluation_lanes import CHUNK, PIECE, EvaluationLanes
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from training import evaluation
from training.hardware import HardwareConfig, resolve

START = 6


@pytest.fixture
def model():
    torch.manual_seed(0)
    return RecurrentModel(RecurrentConfig(cells=12, embedding=4), 7, 6)


def text_of(length):
    return np.random.default_rng(length).integers(0, 6, length).astype(np.uint8)


@pytest.fixture
def loss(model):
    """Measures the loss over a text in some lanes; 0: as many as suit it."""
    hardware = resolve(HardwareConfig(device="cpu", precision="float32"))

    def measure(text, *arguments, lanes=0, **options):
        batches = EvaluationLanes(text, START, lanes)
        return evaluation.held_out_loss(model, batches, hardware, *arguments, **options)

    return measure


def one_lane(model, text):
    model.eval()
    fed = torch.from_numpy(np.concatenate([[START], text[:-1]]))[:, None].long()
    with torch.no_grad():
        scores, _ = model(fed, model.initial_state(1))
    return F.cross_entropy(scores[:, 0], torch.from_numpy(text).long()).item()


@pytest.mark.parametrize("length", [1, 5, 300, 2047])
def test_a_short_text_is_one_fresh_stream(model, loss, length):
    expected = one_lane(model, text_of(length))
    found = loss(text_of(length))
    assert (found.mean, found.tokens) == (pytest.approx(expected, 1e-5), length)


def test_many_lanes_count_every_character_once(model, loss):
    """A network of little memory gives in many lanes what it gives in one."""
    text = text_of(3 * PIECE + 1001)
    expected = one_lane(model, text)
    model.train()
    assert loss(text).mean == pytest.approx(expected, 1e-5)
    assert model.training


@pytest.mark.parametrize("lanes", [1, 2, 7])
def test_lanes_can_be_asked_for(model, loss, lanes):
    text = text_of(9_000)
    assert loss(text, lanes=lanes).mean == pytest.approx(one_lane(model, text), 1e-6 if lanes == 1 else 1e-4)


def test_it_pauses_before_every_chunk_and_can_be_ended_there(model, loss):
    model.train()
    shares = []
    loss(text_of(3 * CHUNK), shares.append)
    assert shares == pytest.approx([0, 1 / 3, 2 / 3])

    def end(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loss(text_of(3 * CHUNK), end)
    assert model.training


def test_it_ends_where_it_has_read_enough(model, loss):
    text = text_of(4 * PIECE)
    found = loss(text, lanes=4, enough=lambda n: n >= 1500)
    assert found.tokens == 2 * 4 * CHUNK
    beginnings = [text[lane * PIECE :][: 2 * CHUNK] for lane in range(4)]
    assert found.mean == pytest.approx(np.mean([one_lane(model, part) for part in beginnings]), 1e-2)


def test_chunks_of_a_large_vocabulary_are_short(model, loss, monkeypatch):
    text, lengths = text_of(1000), []
    model.register_forward_pre_hook(lambda _, arguments: lengths.append(len(arguments[0])))
    whole = loss(text).mean
    monkeypatch.setattr(evaluation, "SCORES", 6 * 100)
    assert loss(text).mean == pytest.approx(whole, 1e-6)
    assert lengths == [256, 256, 256, 232] + [100] * 10


def test_a_measurement_without_enough_memory_says_so(run_cli, text, small, monkeypatch):
    def greedy(*_args, **_options):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    assert run_cli("train", text, "--out", "run", *small())[0] == 0
    monkeypatch.setattr("training.evaluate.held_out_loss", greedy)
    code, said = run_cli("evaluate", "run", text)
    assert (code, "no memory to measure run: lower --lanes" in said) == (15, True), said
