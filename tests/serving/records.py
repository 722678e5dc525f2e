"""Models of random weights: of records, and of any tokens.

Records end, may be labelled, and have an unknown token.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from charloom.bundle import Bundle
from charloom.execution_class import Precision
from charloom.tokens_config import TokensConfig
from charloom.vocabulary import (
    CharacterVocabulary,
    LabelColumn,
    SpecialTokens,
    Vocabulary,
    no_tokens,
    vocabulary_builder,
)
from export.build import build_graphs
from export.exporter import Contents
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from serving.engine.config import RunnerConfig
from serving.model import Model
from tests.conftest import PRECISIONS
from tests.serving.conftest import LARGEST
from training.checkpoint import Checkpoint

ENDING = SpecialTokens(end=True, unknown=True)
LABELLED = SpecialTokens(
    end=True,
    unknown=True,
    labels=(LabelColumn("tone", ("calm", "loud")), LabelColumn("size", ("s", "m", "l"))),
)
ALPHABET = "etaoinshrdlu xf(:)"
"""The characters of these models: those of the tests' prompts and options, most of them."""
TRAINING = {"text": {"records": {"records": "paragraphs"}}}


def record_bundle(
    special: SpecialTokens,
    characters: str = ALPHABET,
    training: dict[str, Any] = TRAINING,
    precisions: Sequence[Precision] = PRECISIONS,
    cells: int = 24,
) -> Bundle:
    """A bundle in memory of a network whose weights are random, with these special tokens."""
    return random_bundle(CharacterVocabulary(characters, special), training, precisions, cells)


def random_bundle(
    vocabulary: Vocabulary,
    training: dict[str, Any] = TRAINING,
    precisions: Sequence[Precision] = PRECISIONS,
    cells: int = 24,
) -> Bundle:
    """A bundle in memory of a network over any vocabulary, whose weights are random."""
    config = RecurrentConfig("lstm", 1, cells, 0)
    model = RecurrentModel(config, vocabulary.inputs, vocabulary.size).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
        model.recurrent.weight_hh_l0.mul_(1.6)  # so that labels are remembered
        model.recurrent.weight_ih_l0[:, vocabulary.start + 1 :].mul_(4)
        if vocabulary.unknown is not None:
            model.output.bias[vocabulary.unknown] = 3  # so that one that could be sampled would be
    source = Checkpoint("records", model.config, vocabulary, model.state_dict(), training, {}, no_tokens())
    contents = Contents(source, model, "records")
    for precision in precisions:
        contents.add(build_graphs(model, precision, unknown=vocabulary.unknown), {})
    return Bundle.in_memory(Path("records"), contents.manifest(), contents.files)


@cache
def token_model(
    tokens: TokensConfig, text: str, precision: Precision = PRECISIONS[-1], threads: int = 1
) -> Model:
    """A model of a text's tokens, ready to run. No test may change it."""
    builder = vocabulary_builder(tokens)
    builder.put(text)
    bundle = random_bundle(builder.build())
    return Model.of(bundle, RunnerConfig("cpu", precision, threads), LARGEST)


@cache
def record_model(
    special: SpecialTokens = ENDING, precision: Precision = PRECISIONS[-1], threads: int = 1
) -> Model:
    """Such a model, ready to run. No test may change it."""
    return Model.of(record_bundle(special), RunnerConfig("cpu", precision, threads), LARGEST)
