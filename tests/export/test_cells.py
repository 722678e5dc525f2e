"""Every kind of network, at odd sizes: the graph is the model, exact to the bit."""

import numpy as np
import pytest
import torch

from charloom.exactness import Subject, check
from export.verify import Session, score_graph, score_model
from tests.export.conftest import random_model, trace_model
from training.model import ModelConfig

TOKENS = 13
NETWORKS = [
    ModelConfig("lstm", 1, 33, 0),
    ModelConfig("lstm", 2, 7, 5),
    ModelConfig("gru", 1, 9, 3),
    ModelConfig("gru", 2, 17, 0),
    ModelConfig("rnn", 1, 1, 0),
    ModelConfig("rnn", 2, 11, 4),
]
"""All cells, each with and without an embedding, with one layer and two."""


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda c: f"{c.cell}-{c.layers}x{c.cells}-{c.embedding}")
def traced(request):
    return trace_model(random_model(request.param, TOKENS), ["plain"])


@pytest.fixture(scope="module")
def text():
    return np.random.default_rng(0).integers(0, TOKENS, 400)


def test_the_graph_scores_a_text_as_the_model_does(traced, text):
    graph = score_graph(traced.session, traced.state, text, TOKENS)
    model = score_model(traced.model, text, TOKENS)
    assert model.std() > 0.3, "the model should care what it reads"
    np.testing.assert_allclose(graph, model, atol=1e-4)


def test_the_graph_ends_in_the_state_of_the_model(traced, text):
    feeds = traced.feeds(1, len(text), "plain", forced=text[:, None], forced_len=len(text))
    found = traced.run(feeds, "plain")
    fed = torch.from_numpy(np.concatenate([[TOKENS], text[:-1]]))[:, None]
    with torch.inference_mode():
        _, state = traced.model(fed, traced.model.initial_state(1))
    for kind, tensor in zip("hc", state, strict=False):
        for layer in range(len(tensor)):
            np.testing.assert_allclose(found[f"{kind}_{layer}_out"], tensor[layer], atol=1e-4)


def test_the_state_is_named_by_kind_and_layer(traced):
    config = traced.model.config
    kinds = "hc" if config.cell == "lstm" else "h"
    assert [spec.name for spec in traced.state] == [f"{k}_{i}" for i in range(config.layers) for k in kinds]
    assert {spec.shape for spec in traced.state} == {(config.cells,)}


def test_it_is_exact_on_one_thread_and_two(net):
    text = np.random.default_rng(0).integers(0, net.size, 100)
    two = Session(net.graphs, threads=2).run
    subject = Subject(net.session.run, net.size, net.size, tuple(net.state), {"2 threads": two})
    assert "2 threads" in check(subject, text).held
