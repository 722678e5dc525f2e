import random

import pytest
import torch

from charloom.vocabulary import CharacterVocabulary, LabelColumn, SpecialTokens, no_tokens
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from networks.registry import NETWORKS
from tests.networks.window import WINDOWS, WindowConfig
from training.checkpoint import Checkpoint
from training.fine_tuning import TransferError
from training.transfer import transfer


def trained(config, characters):
    torch.manual_seed(1)
    vocabulary = CharacterVocabulary(characters)
    model = RecurrentModel(config, vocabulary.inputs, vocabulary.size)
    return Checkpoint("epoch1.00_loss1.0000", config, vocabulary, model.state_dict(), {}, {}, no_tokens())


def scores(model, vocabulary, text):
    tokens = torch.tensor([[vocabulary.start, *vocabulary.encode(text).tolist()]]).T
    with torch.no_grad():
        return model.eval()(tokens, model.initial_state(1))[0][:, 0]


@pytest.mark.parametrize("embedding", [0, 6])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_shared_characters_behave_as_before(embedding, cell):
    config = RecurrentConfig(cell=cell, layers=2, cells=9, embedding=embedding)
    source = trained(config, "abcd")
    vocabulary = CharacterVocabulary("xdybca")
    model = RecurrentModel(config, vocabulary.inputs, vocabulary.size)
    said = transfer(source, model, vocabulary)
    assert "4 tokens kept, 2 added, 0 dropped" in said
    old, new = (v.encode("abcd") for v in (source.vocabulary, vocabulary))
    torch.testing.assert_close(
        scores(model, vocabulary, "dacb")[:, new], scores(source.model(), source.vocabulary, "dacb")[:, old]
    )


def test_the_same_vocabulary_is_said_to_be_the_same():
    source = trained(RecurrentConfig(cells=9), "abcd")
    model = RecurrentModel(source.config, 5, 4)
    assert "same vocabulary" in transfer(source, model, source.vocabulary)
    assert all(torch.equal(v, source.weights[k]) for k, v in model.state_dict().items())


def test_no_shared_characters_still_share_the_start():
    source = trained(RecurrentConfig(cells=9), "ab")
    vocabulary = CharacterVocabulary("yz")
    model = RecurrentModel(source.config, 3, 2)
    assert "0 tokens kept, 2 added, 2 dropped" in transfer(source, model, vocabulary)
    assert torch.equal(model.embedding.weight[2], source.weights["embedding.weight"][2])


@pytest.mark.parametrize("new", ["\N{SPOOL OF THREAD}", "".join(map(chr, range(0x4E00, 0x4E00 + 500)))])
@pytest.mark.parametrize(
    ("config", "networks"), [(RecurrentConfig(cells=9), NETWORKS), (WindowConfig(width=6), WINDOWS)]
)
def test_new_tokens_cost_the_old_text_next_to_nothing(config, networks, new):
    vocabulary = CharacterVocabulary("abcd")
    torch.manual_seed(1)
    model = networks.build(config, vocabulary.inputs, vocabulary.size)
    for parameter in model.parameters():
        parameter.data *= 4  # sure of what comes next, as a trained model is
    source = Checkpoint("one", config, vocabulary, model.state_dict(), {}, {}, no_tokens(), networks)
    wider = vocabulary.extended(CharacterVocabulary(new)).with_special(SpecialTokens(end=True, unknown=True))
    tuned = networks.build(config, wider.inputs, wider.size)
    transfer(source, tuned, wider)
    text = "".join(random.Random(0).choices("abcd", k=300))
    before, after = (
        torch.log_softmax(scores(m, v, text), -1)[torch.arange(300), v.encode(text)]
        for m, v in ((source.model(), vocabulary), (tuned, wider))
    )
    costs = before - after
    assert costs.min() > -1e-5
    assert costs.max() < 0.01
    mass = torch.softmax(scores(tuned, wider, text), -1)[:, 4:].sum(-1)
    assert mass.min() > 0, "it can be learnt"


def test_labels_are_told_apart_from_tokens():
    source = trained(RecurrentConfig(cells=9), "abcd")
    special = SpecialTokens(end=True, labels=(LabelColumn("genre", ("verse", "prose")),))
    vocabulary = source.vocabulary.with_special(special)
    model = RecurrentModel(source.config, vocabulary.inputs, vocabulary.size)
    said = transfer(source, model, vocabulary)
    assert said.endswith(": 4 tokens kept, 1 added, 0 dropped; of labels 0 values kept, 2 added, 0 dropped")


def test_another_architecture_is_refused():
    source = trained(RecurrentConfig(cells=9), "ab")
    model = RecurrentModel(RecurrentConfig(cells=10), 3, 2)
    with pytest.raises(TransferError, match=r"cells 9.* cells 10"):
        transfer(source, model, source.vocabulary)
